// What the matrix kernels with AVX-512 share: from the sums of a tile to rows of output. Textual for files with AVX-512
// flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_avx512.h"

namespace nq {
namespace {

// The first `count` of as many lanes as the mask has.
inline __mmask64 first_lanes(uint32_t count) { return count >= 64 ? ~__mmask64{0} : (__mmask64{1} << count) - 1; }

// pack_codes puts channels 4 l to 4 l + 3 of all four blocks into lane l.
inline __m512i in_order(__m512i codes) {
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
}

template <int kBlocks, Clamp kClamp>
struct RowRequantizer {
  RowRequantizer(const Requantization& requantization, uint32_t num_channels)
      : requantizer(make_requantizer(requantization)), mask(first_lanes(num_channels)) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) multiplier[b] = _mm512_loadu_ps(requantization.multiplier + b * kMatrixChannels);
  }

  [[gnu::always_inline]] inline void store(const __m512i (&sums)[kBlocks], int8_t* out) const {
    __m512i scaled[kTileBlocks] = {};
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) scaled[b] = scale_sums<kClamp>(requantizer, sums[b], multiplier[b]);
    const __m512i codes = pack_codes<kClamp>(requantizer, scaled[0], scaled[1], scaled[2], scaled[3]);
    if (kBlocks == kTileBlocks && ~mask == 0) {
      _mm512_storeu_si512(out, in_order(codes));  // a store with a mask takes longer
    } else {
      _mm512_mask_storeu_epi8(out, mask, in_order(codes));
    }
  }

  Requantizer requantizer;
  __mmask64 mask;
  __m512 multiplier[kBlocks];
};

template <int kBlocks, Clamp kClamp>
void requantize_blocks(const int32_t* sums, int num_rows, const Requantization& requantization, int8_t* out,
                       size_t out_stride, uint32_t num_channels) {
  const RowRequantizer<kBlocks, kClamp> requantizer(requantization, num_channels);
  for (; num_rows > 0; --num_rows, sums += kTileChannels, out += out_stride) {
    __m512i row[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) row[b] = _mm512_loadu_si512(sums + b * kMatrixChannels);
    requantizer.store(row, out);
  }
}

// kTileChannels sums a row, of which those of the last block with a channel are read.
inline void requantize_rows(const int32_t* sums, int num_rows, const Requantization& requantization, int8_t* out,
                            size_t out_stride, uint32_t num_channels) {
#define NQ_BLOCKS(clamp)                                                                                               \
  {                                                                                                                    \
    requantize_blocks<1, clamp>, requantize_blocks<2, clamp>, requantize_blocks<3, clamp>, requantize_blocks<4, clamp> \
  }
  constexpr decltype(&requantize_blocks<1, Clamp::kSums>) kRequantize[kClamps][kTileBlocks] = {
      NQ_BLOCKS(Clamp::kFromLowest), NQ_BLOCKS(Clamp::kSaturates), NQ_BLOCKS(Clamp::kCodes), NQ_BLOCKS(Clamp::kSums)};
#undef NQ_BLOCKS
  const auto requantize = kRequantize[static_cast<int>(clamp_of(requantization))][(num_channels - 1) / kMatrixChannels];
  requantize(sums, num_rows, requantization, out, out_stride, num_channels);
}

inline void requantize_row(const int32_t* sums, const Requantization& requantization, int8_t* out,
                           uint32_t num_channels) {
  requantize_rows(sums, 1, requantization, out, 0, num_channels);
}

// Of 16 channels: sums of weights as pairs of words, low + 128 * high, so that one instruction subtracts their products
// with a zero point; false where such a sum has more than 22 bits.
inline bool split_weight_sums(const int32_t* sums, __m512i* pairs) {
  const __m512i weight_sum = _mm512_loadu_si512(sums), high = _mm512_srai_epi32(weight_sum, 7);
  const __m512i low = _mm512_and_si512(weight_sum, _mm512_set1_epi32(127));
  *pairs = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
  const __m512i beyond = _mm512_add_epi32(high, _mm512_set1_epi32(1 << 15));
  return _mm512_cmpge_epu32_mask(beyond, _mm512_set1_epi32(1 << 16)) == 0;
}

inline int32_t zero_point_pair(int32_t zero_point) {
  return static_cast<int32_t>((static_cast<uint32_t>(-zero_point) & 0xFFFF) | static_cast<uint32_t>(-zero_point * 128)
                                                                                  << 16);
}

template <bool kClamps>
void dequantize_some(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                     size_t out_stride, uint32_t num_channels) {
  const size_t row_step = dequantization.row_step;
  for (uint32_t c = 0; c < num_channels; c += kMatrixChannels) {
    const auto mask = static_cast<__mmask16>(first_lanes(num_channels - c));
    Dequantizer dequantizer = make_dequantizer(dequantization, c);
    const __m512 scale = _mm512_loadu_ps(dequantization.scale + c);
    __m512i pairs;
    const bool splits = split_weight_sums(dequantization.weight_sum + c, &pairs);
    for (int r = 0; r < num_rows; ++r) {
      const __m512i of_row = _mm512_loadu_si512(sums + r * kTileChannels + c);
      const size_t row = static_cast<size_t>(r) * row_step;
      __m512 value;
      if (splits) {
        const __m512i zero_point = _mm512_set1_epi32(zero_point_pair(dequantization.zero_point[row]));
        const __m512 centred = _mm512_cvtepi32_ps(_mm512_dpwssd_epi32(of_row, pairs, zero_point));
        const __m512 factor = _mm512_mul_ps(_mm512_set1_ps(dequantization.row_scale[row]), scale);
        value = _mm512_add_ps(_mm512_mul_ps(centred, factor), dequantizer.bias);
        if (kClamps) value = _mm512_min_ps(dequantizer.high, _mm512_max_ps(dequantizer.low, value));
      } else {
        if (row > 0) dequantizer = make_dequantizer(dequantization.from_row(static_cast<size_t>(r)), c);
        value = dequantize_sums(dequantizer, of_row);
      }
      _mm512_mask_storeu_ps(out + static_cast<size_t>(r) * out_stride + c, mask, value);
    }
  }
}

inline void dequantize_rows(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                            size_t out_stride, uint32_t num_channels) {
  constexpr float kInfinity = __builtin_inff();
  const bool clamps = dequantization.low != -kInfinity || dequantization.high != kInfinity;
  const auto dequantize = clamps ? dequantize_some<true> : dequantize_some<false>;
  dequantize(sums, num_rows, dequantization, out, out_stride, num_channels);
}

}  // namespace
}  // namespace nq
