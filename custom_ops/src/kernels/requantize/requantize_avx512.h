// Textual for files with AVX-512 flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include "kernels/requantize/requantization.h"

namespace nq {
namespace {

// What keeps codes within their range, the least first.
enum class Clamp {
  kFromLowest,  // the packs alone: the range is all of int8 and the zero point its least code
  kSaturates,   // the packs alone: the range is all of int8
  kCodes,       // codes are clamped
  kSums,        // scaled sums are clamped as well, for they may be too large for int32
};
constexpr int kClamps = 4;

inline Clamp clamp_of(const Requantization& requantization) {
  if (!requantization.shrinks) return Clamp::kSums;
  if (requantization.low != -128 || requantization.high != 127) return Clamp::kCodes;
  return requantization.zero_point == -128 ? Clamp::kFromLowest : Clamp::kSaturates;
}

struct Requantizer {
  __m512 high;
  __m512i zero_point, low, last;  // int16, int8, int8: the last is `high` again
};

inline Requantizer make_requantizer(const Requantization& requantization) {
  const int32_t zero_point = requantization.zero_point;
  return {_mm512_set1_ps(static_cast<float>(requantization.high - zero_point)),
          _mm512_set1_epi16(static_cast<int16_t>(zero_point)), _mm512_set1_epi8(requantization.low),
          _mm512_set1_epi8(requantization.high)};
}

// What shrinks needs no clamp before it is packed; otherwise above, but not below: a conversion that overflows to the
// least int32 saturates to `low` in the packs.
template <Clamp kClamp>
inline __m512i scale_sums(const Requantizer& requantizer, __m512i sums, __m512 multiplier) {
  __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier);
  if constexpr (kClamp == Clamp::kSums) scaled = _mm512_min_ps(scaled, requantizer.high);
  return _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// Four vectors of scaled sums to int8; each 128-bit lane has 4 of each vector's.
template <Clamp kClamp = Clamp::kCodes>
inline __m512i pack_codes(const Requantizer& requantizer, __m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_packs_epi32(a, b), cd = _mm512_packs_epi32(c, d);
  if constexpr (kClamp == Clamp::kFromLowest) {
    return _mm512_xor_si512(_mm512_packus_epi16(ab, cd), _mm512_set1_epi8(static_cast<char>(0x80)));
  }
  const __m512i codes =
      _mm512_packs_epi16(_mm512_adds_epi16(ab, requantizer.zero_point), _mm512_adds_epi16(cd, requantizer.zero_point));
  if constexpr (kClamp == Clamp::kSaturates) return codes;
  return _mm512_min_epi8(_mm512_max_epi8(codes, requantizer.low), requantizer.last);
}

// Of 16 channels in one row.
struct Dequantizer {
  __m512i offset;
  __m512 scale, bias, low, high;
};

inline Dequantizer make_dequantizer(const Dequantization& dequantization, uint32_t channel) {
  const __m512i weight_sum = _mm512_loadu_si512(dequantization.weight_sum + channel);
  return {_mm512_mullo_epi32(_mm512_set1_epi32(*dequantization.zero_point), weight_sum),
          _mm512_mul_ps(_mm512_set1_ps(*dequantization.row_scale), _mm512_loadu_ps(dequantization.scale + channel)),
          _mm512_loadu_ps(dequantization.bias + channel), _mm512_set1_ps(dequantization.low),
          _mm512_set1_ps(dequantization.high)};
}

inline __m512 dequantize_sums(const Dequantizer& dequantizer, __m512i sums) {
  const __m512 centred = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, dequantizer.offset));
  const __m512 value = _mm512_add_ps(_mm512_mul_ps(centred, dequantizer.scale), dequantizer.bias);
  // The second operand is the result of two zeros and of a NaN: a zero keeps its sign, and a NaN stays.
  return _mm512_min_ps(dequantizer.high, _mm512_max_ps(dequantizer.low, value));
}

}  // namespace
}  // namespace nq
