// What the matrix kernels of 256 bits share: from the sums of a tile to rows of output. Textual for files with AVX2
// flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_avx2.h"

namespace nq {
namespace {

constexpr int kChannels = 8;  // of a vector of sums

inline __m256i load(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }
inline void store(__m256i vector, void* bytes) { _mm256_storeu_si256(static_cast<__m256i*>(bytes), vector); }

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

}  // namespace
}  // namespace nq
