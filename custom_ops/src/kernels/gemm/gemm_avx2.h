// What the matrix kernels of 256 bits share: tiles of up to 6 rows by 16 channels, and the way from their sums to rows
// of output. Textual for files with AVX2
// flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_avx2.h"

namespace nq {
namespace {

constexpr int kRows = 6;
constexpr int kChannels = 8;                           // of a vector of sums
constexpr int kVectors = kMatrixChannels / kChannels;  // of accumulators in a row
constexpr int kVectorBytes = sizeof(__m256i);

inline __m256i load(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }
inline void store(__m256i vector, void* bytes) { _mm256_storeu_si256(static_cast<__m256i*>(bytes), vector); }

// Around every task: a program's own rounding, of each thread.
inline thread_local unsigned rounding_before = 0;
inline void begin_task() { rounding_before = round_to_nearest(); }
inline void end_task() { round_as_before(rounding_before); }

inline void requantize_row(const int32_t* sums, const Requantization& requantization, int8_t* out,
                           uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    store_channels(requantizer, load(sums + c), requantization.multiplier + c, num_channels - c, out + c);
  }
}

// kTileChannels sums a row.
inline void requantize_rows(const int32_t* sums, int num_rows, const Requantization& requantization, int8_t* out,
                            size_t out_stride, uint32_t num_channels) {
  for (; num_rows > 0; --num_rows, sums += kTileChannels, out += out_stride) {
    requantize_row(sums, requantization, out, num_channels);
  }
}

inline void dequantize_rows(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                            size_t out_stride, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    Dequantizer dequantizer = make_dequantizer(dequantization, c);
    for (int r = 0; r < num_rows; ++r) {
      if (r > 0 && dequantization.row_step > 0) {
        dequantizer = make_dequantizer(dequantization.from_row(static_cast<size_t>(r)), c);
      }
      store_floats(dequantizer, load(sums + r * kTileChannels + c), num_channels - c, out + r * out_stride + c);
    }
  }
}

// `kNumVectors` are fewer for a last block of few channels.
template <int kNumRows, int kNumVectors>
struct Sums {
  __m256i of[kNumRows][kNumVectors];
};

template <int kNumRows, int kNumVectors>
[[gnu::always_inline]] inline Sums<kNumRows, kNumVectors> start_sums(const GemmTile& tile, uint32_t block) {
  Sums<kNumRows, kNumVectors> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kNumVectors; ++v) sums.of[r][v] = load(tile.bias + block * kMatrixChannels + v * kChannels);
  }
  return sums;
}

// A kernel's Multiply has `block<kNumRows, kNumVectors>(tile, b)`: bias + products of the b-th block of channels.
template <typename Multiply, int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  for (int block = 0; block < tile.num_blocks; ++block, out += kMatrixChannels) {
    const auto sums = Multiply::template block<kNumRows, kVectors>(tile, static_cast<uint32_t>(block));
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) store(sums.of[r][v], out + r * kTileChannels + v * kChannels);
    }
  }
}

template <typename Multiply>
void accumulate_tile(const GemmTile& tile, int32_t* sums) {
  constexpr decltype(&accumulate_tile<Multiply>) kAccumulate[kRows] = {
      accumulate_rows<Multiply, 1>, accumulate_rows<Multiply, 2>, accumulate_rows<Multiply, 3>,
      accumulate_rows<Multiply, 4>, accumulate_rows<Multiply, 5>, accumulate_rows<Multiply, 6>};
  kAccumulate[tile.rows.num_rows - 1](tile, sums);
}

template <typename Multiply, int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  uint32_t c = 0;
  for (; c + kChannels < num_channels; c += kMatrixChannels) {
    const auto sums = Multiply::template block<kNumRows, kVectors>(tile, c / kMatrixChannels);
    const __m256 first = _mm256_loadu_ps(requantization.multiplier + c);
    const __m256 second = _mm256_loadu_ps(requantization.multiplier + c + kChannels);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      const __m128i codes = requantize_two(requantizer, sums.of[r][0], first, sums.of[r][1], second);
      store_row(codes, num_channels - c, out + r * out_stride + c);
    }
  }
  if (c >= num_channels) return;
  const auto sums = Multiply::template block<kNumRows, 1>(tile, c / kMatrixChannels);
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    store_channels(requantizer, sums.of[r][0], requantization.multiplier + c, num_channels - c,
                   out + r * out_stride + c);
  }
}

template <typename Multiply>
void multiply_tile(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  constexpr decltype(&multiply_tile<Multiply>) kMultiply[kRows] = {
      multiply_rows<Multiply, 1>, multiply_rows<Multiply, 2>, multiply_rows<Multiply, 3>,
      multiply_rows<Multiply, 4>, multiply_rows<Multiply, 5>, multiply_rows<Multiply, 6>};
  if (!requantization.shrinks) {
    alignas(kLineBytes) int32_t sums[kRows * kTileChannels];
    accumulate_tile<Multiply>(tile, sums);
    return requantize_rows(sums, tile.rows.num_rows, requantization, out, out_stride, num_channels);
  }
  kMultiply[tile.rows.num_rows - 1](tile, requantization, out, out_stride, num_channels);
}

}  // namespace
}  // namespace nq
