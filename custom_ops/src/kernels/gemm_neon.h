// What the matrix kernels with NEON share: the walk over a tile's channels and from its sums to rows of output. Textual
// for files with NEON flags: everything has internal linkage, as in unpack_words.h.
//
// A Multiplier has `kRows`, `kPairs` (of vectors: 8 channels each) and a function
//   template <int kNumRows> static Sums<kNumRows, kPairs> multiply(const GemmTile& tile, uint32_t channel);
// which gives bias + products of 8 * kPairs channels.
#pragma once

#include "kernels/gemm.h"
#include "kernels/requantize_neon.h"

namespace nq {
namespace {

template <int kNumRows, int kPairs>
struct Sums {
  EightSums of[kNumRows][kPairs];
};

template <typename Multiplier, int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t first = 0; first < num_channels; first += 8 * Multiplier::kPairs) {
    const auto sums = Multiplier::template multiply<kNumRows>(tile, first);
#pragma GCC unroll 2
    for (uint32_t p = 0; p < Multiplier::kPairs; ++p) {
      const uint32_t c = first + 8 * p;
      if (c >= num_channels) break;
#pragma GCC unroll 8
      for (int r = 0; r < kNumRows; ++r) {
        store_channels(requantizer, sums.of[r][p], requantization.multiplier + c, num_channels - c,
                       out + r * out_stride + c);
      }
    }
  }
}

template <typename Multiplier, int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  const auto num_channels = static_cast<uint32_t>(tile.num_blocks * kMatrixChannels);
  for (uint32_t first = 0; first < num_channels; first += 8 * Multiplier::kPairs) {
    const auto sums = Multiplier::template multiply<kNumRows>(tile, first);
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
      for (int p = 0; p < Multiplier::kPairs; ++p) store_sums(sums.of[r][p], out + r * kTileChannels + first + 8 * p);
    }
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
  for (uint32_t c = 0; c < num_channels; c += 8) {
    store_channels(requantizer, load_sums(sums + c), requantization.multiplier + c, num_channels - c, out + c);
  }
}

inline void dequantize(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                       size_t out_stride, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; c += 8) {
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
