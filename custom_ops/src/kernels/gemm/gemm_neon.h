// What the matrix kernels with NEON share: the walk over a tile's channels and from its sums to rows of output. Textual
// for files with NEON flags: everything has internal linkage, as in unpack_words.h.
//
// A Multiplier has kRows, and a function that gives bias + products of 8 channels:
//   template <int kNumRows> static Sums<kNumRows> multiply(const GemmTile& tile, uint32_t channel);
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {
namespace {

constexpr uint32_t kChannels = 8;  // multiplied together

template <int kNumRows>
struct Sums {
  EightSums of[kNumRows];
};

// The first channel's, in the first block of the depth.
inline const int8_t* codes_of(const GemmTile& tile, uint32_t channel) {
  return tile.codes + channel / kMatrixChannels * tile.block_stride + channel % kMatrixChannels * kDepthPerBlock;
}

constexpr uint32_t kStep = 16;  // activations in a vector

// A piece of some rows.
template <int kNumRows>
struct RowPointers {
  [[gnu::always_inline]] inline RowPointers(const int8_t* const* piece, uint32_t num_pieces) {
#pragma GCC unroll 8
    for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = piece[r * num_pieces];
  }

  [[gnu::always_inline]] inline void load(uint32_t at, int8x16_t (&activations)[kNumRows]) const {
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) activations[r] = vld1q_s8(rows[r] + at);
  }

  [[gnu::always_inline]] inline void load_four(uint32_t at, int8x16_t (&activations)[kNumRows]) const {
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) {
      int32_t four;
      std::memcpy(&four, rows[r] + at, sizeof(four));
      activations[r] = vreinterpretq_s8_s32(vdupq_n_s32(four));
    }
  }

  const int8_t* rows[kNumRows];
};

template <typename Multiplier, int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const Sums<kNumRows> sums = Multiplier::template multiply<kNumRows>(tile, c);
    const EightMultipliers multipliers = load_multipliers(requantization.multiplier + c);
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) {
      store_channels(requantizer, sums.of[r], multipliers, num_channels - c, out + r * out_stride + c);
    }
  }
}

template <typename Multiplier, int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  const auto num_channels = static_cast<uint32_t>(tile.num_blocks * kMatrixChannels);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const Sums<kNumRows> sums = Multiplier::template multiply<kNumRows>(tile, c);
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) store_sums(sums.of[r], out + r * kTileChannels + c);
  }
}

// Calls the function for the tile's number of rows.
template <typename Multiplier, int kNumRows = Multiplier::kRows>
void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  if constexpr (kNumRows > 1) {
    if (tile.rows.num_rows < kNumRows) {
      return multiply<Multiplier, kNumRows - 1>(tile, requantization, out, out_stride, num_channels);
    }
  }
  multiply_rows<Multiplier, kNumRows>(tile, requantization, out, out_stride, num_channels);
}

template <typename Multiplier, int kNumRows = Multiplier::kRows>
void accumulate(const GemmTile& tile, int32_t* sums) {
  if constexpr (kNumRows > 1) {
    if (tile.rows.num_rows < kNumRows) return accumulate<Multiplier, kNumRows - 1>(tile, sums);
  }
  accumulate_rows<Multiplier, kNumRows>(tile, sums);
}

inline void requantize(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const EightMultipliers multipliers = load_multipliers(requantization.multiplier + c);
    store_channels(requantizer, load_sums(sums + c), multipliers, num_channels - c, out + c);
  }
}

inline void dequantize(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                       size_t out_stride, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    Dequantizer dequantizer(dequantization, c);
    for (int r = 0; r < num_rows; ++r) {
      if (r > 0 && dequantization.row_step > 0) {
        dequantizer = Dequantizer(dequantization.from_row(static_cast<size_t>(r)), c);
      }
      dequantizer.store(load_sums(sums + r * kTileChannels + c), num_channels - c, out + r * out_stride + c);
    }
  }
}

}  // namespace
}  // namespace nq
