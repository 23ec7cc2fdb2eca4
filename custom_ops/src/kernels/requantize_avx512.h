// Textual for files with AVX-512 flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include "kernels/requantization.h"

namespace nq {
namespace {

struct Requantizer {
  __m512 low, high;
  __m512i zero_point;
};

inline Requantizer make_requantizer(const Requantization& requantization) {
  const int32_t zero_point = requantization.zero_point;
  return {_mm512_set1_ps(static_cast<float>(requantization.low - zero_point)),
          _mm512_set1_ps(static_cast<float>(requantization.high - zero_point)), _mm512_set1_epi32(zero_point)};
}

// Values fit in int8, one in each int32.
inline __m512i requantize(const Requantizer& requantizer, __m512i sums, __m512 multiplier) {
  __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier);
  scaled = _mm512_min_ps(_mm512_max_ps(scaled, requantizer.low), requantizer.high);
  const __m512i rounded = _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_add_epi32(rounded, requantizer.zero_point);
}

}  // namespace
}  // namespace nq
