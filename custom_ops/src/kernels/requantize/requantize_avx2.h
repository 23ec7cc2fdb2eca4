// Textual for files with AVX2 flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "kernels/requantize/requantization.h"

namespace nq {
namespace {

// Conversions to int32 round to nearest between the two, whatever the program has set. An instruction that says so for
// every vector would take as long as the scaling and the conversion together.
inline unsigned round_to_nearest() {
  const unsigned before = _mm_getcsr();
  if ((before & _MM_ROUND_MASK) != _MM_ROUND_NEAREST) _mm_setcsr(before & ~unsigned{_MM_ROUND_MASK});
  return before;
}
inline void round_as_before(unsigned before) {
  if ((before & _MM_ROUND_MASK) != _MM_ROUND_NEAREST) _mm_setcsr(before);
}

struct Requantizer {
  __m256 low, high;
  __m256i zero_point;
  __m256i zero_point_words;
  __m128i low_codes, high_codes;
};

inline Requantizer make_requantizer(const Requantization& requantization) {
  const int32_t zero_point = requantization.zero_point;
  return {_mm256_set1_ps(static_cast<float>(requantization.low - zero_point)),
          _mm256_set1_ps(static_cast<float>(requantization.high - zero_point)),
          _mm256_set1_epi32(zero_point),
          _mm256_set1_epi16(static_cast<int16_t>(zero_point)),
          _mm_set1_epi8(requantization.low),
          _mm_set1_epi8(requantization.high)};
}

// After round_to_nearest().
inline __m256i scale_sums(__m256i sums, __m256 multiplier) {
  return _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_cvtepi32_ps(sums), multiplier));
}

// Values fit in int8, one in each int32. After round_to_nearest().
inline __m256i requantize(const Requantizer& requantizer, __m256i sums, const float* multiplier) {
  __m256 scaled = _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_loadu_ps(multiplier));
  scaled = _mm256_min_ps(_mm256_max_ps(scaled, requantizer.low), requantizer.high);
  return _mm256_add_epi32(_mm256_cvtps_epi32(scaled), requantizer.zero_point);
}

// The first `count` of 8 codes.
inline void store_codes(__m128i codes, uint32_t count, int8_t* out) {
  if (count >= 8) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out), codes);
  } else {
    const int64_t eight = _mm_cvtsi128_si64(codes);
    std::memcpy(out, &eight, count);
  }
}

// The first `count` of 16 codes.
inline void store_row(__m128i codes, uint32_t count, int8_t* out) {
  if (count >= sizeof(codes)) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), codes);
  } else {
    std::memcpy(out, &codes, count);
  }
}

// Requantizes 8 channels and stores the first `count` of them.
inline void store_channels(const Requantizer& requantizer, __m256i sums, const float* multiplier, uint32_t count,
                           int8_t* out) {
  const __m256i values = requantize(requantizer, sums, multiplier);
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
  store_codes(_mm_packs_epi16(words, words), count, out);
}

// Twice 8 sums that their multipliers make smaller: they need no clamp before they are packed. The codes of the first,
// then those of the second.
inline __m128i requantize_two(const Requantizer& requantizer, __m256i first, __m256 first_multiplier, __m256i second,
                              __m256 second_multiplier) {
  const __m256i scaled = _mm256_packs_epi32(scale_sums(first, first_multiplier), scale_sums(second, second_multiplier));
  const __m256i words = _mm256_adds_epi16(scaled, requantizer.zero_point_words);
  const __m256i in_order =
      _mm256_permutevar8x32_epi32(_mm256_packs_epi16(words, words), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  const __m128i codes = _mm256_castsi256_si128(in_order);
  return _mm_min_epi8(_mm_max_epi8(codes, requantizer.low_codes), requantizer.high_codes);
}

// Of 8 channels in one row.
struct Dequantizer {
  __m256i offset;
  __m256 scale, bias, low, high;
};

inline Dequantizer make_dequantizer(const Dequantization& dequantization, uint32_t channel) {
  const auto* weight_sum = reinterpret_cast<const __m256i*>(dequantization.weight_sum + channel);
  return {_mm256_mullo_epi32(_mm256_set1_epi32(*dequantization.zero_point), _mm256_loadu_si256(weight_sum)),
          _mm256_mul_ps(_mm256_set1_ps(*dequantization.row_scale), _mm256_loadu_ps(dequantization.scale + channel)),
          _mm256_loadu_ps(dequantization.bias + channel), _mm256_set1_ps(dequantization.low),
          _mm256_set1_ps(dequantization.high)};
}

// Stores the first `count`.
inline void store_floats(const Dequantizer& dequantizer, __m256i sums, uint32_t count, float* out) {
  const __m256 centred = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, dequantizer.offset));
  const __m256 value = _mm256_add_ps(_mm256_mul_ps(centred, dequantizer.scale), dequantizer.bias);
  // The second operand is the result of two zeros and of a NaN: a zero keeps its sign, and a NaN stays.
  const __m256 clamped = _mm256_min_ps(dequantizer.high, _mm256_max_ps(dequantizer.low, value));
  if (count >= 8) {
    _mm256_storeu_ps(out, clamped);
  } else {
    std::memcpy(out, &clamped, count * sizeof(float));
  }
}

}  // namespace
}  // namespace nq
