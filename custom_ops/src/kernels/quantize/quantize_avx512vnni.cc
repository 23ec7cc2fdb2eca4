#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include <limits>

#include "kernels/cpu.h"
#include "kernels/quantize/quantize.h"

namespace nq {

extern const QuantizeKernel quantize_avx512vnni;

namespace {

constexpr size_t kLanes = 16;
constexpr int kVectors = 4;

struct Extremes {
  __m512 min, max;
};

// The second operand is the result of a NaN and of two zeros, so that none of these ever gets into min and max.
inline void add_vector(__m512 values, Extremes* extremes) {
  extremes->min = _mm512_min_ps(values, extremes->min);
  extremes->max = _mm512_max_ps(values, extremes->max);
}

inline __mmask16 first_lanes(size_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xFFFF : (1u << count) - 1);
}

FloatRange find_range(const float* in, size_t count) {
  Extremes extremes[kVectors];
  for (Extremes& each : extremes) each.min = each.max = _mm512_setzero_ps();
  __mmask16 unordered = 0;
  size_t i = 0;
  for (; i + kVectors * kLanes <= count; i += kVectors * kLanes) {
    __m512 values[kVectors];
    for (int v = 0; v < kVectors; ++v) values[v] = _mm512_loadu_ps(in + i + v * kLanes);
    for (int v = 0; v < kVectors; ++v) add_vector(values[v], &extremes[v]);
    unordered |= _mm512_cmp_ps_mask(values[0], values[1], _CMP_UNORD_Q);
    unordered |= _mm512_cmp_ps_mask(values[2], values[3], _CMP_UNORD_Q);
  }
  for (; i < count; i += kLanes) {
    const __m512 values = _mm512_maskz_loadu_ps(first_lanes(count - i), in + i);
    add_vector(values, &extremes[0]);
    unordered |= _mm512_cmp_ps_mask(values, values, _CMP_UNORD_Q);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (unordered != 0) return {nan, nan};
  for (int v = 1; v < kVectors; ++v) {
    extremes[0].min = _mm512_min_ps(extremes[0].min, extremes[v].min);
    extremes[0].max = _mm512_max_ps(extremes[0].max, extremes[v].max);
  }
  return {_mm512_reduce_min_ps(extremes[0].min), _mm512_reduce_max_ps(extremes[0].max)};
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const __m512 scales = _mm512_set1_ps(inverse_scale);
  const __m512i zero_points = _mm512_set1_epi32(zero_point);
  const auto codes_of = [=](__m512 values) {
    const __m512 scaled = _mm512_mul_ps(values, scales);
    const __m512i rounded = _mm512_cvt_roundps_epi32(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_cvtsepi32_epi8(_mm512_add_epi32(rounded, zero_points));
  };
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), codes_of(_mm512_loadu_ps(in + i)));
  }
  if (i == count) return;
  const __mmask16 mask = first_lanes(count - i);
  _mm_mask_storeu_epi8(out + i, mask, codes_of(_mm512_maskz_loadu_ps(mask, in + i)));
}

}  // namespace

constexpr QuantizeKernel quantize_avx512vnni = [] {
  QuantizeKernel kernel;
  kernel.isa = "avx512vnni";
  kernel.supported = has_avx512vnni;
  kernel.find_range = find_range;
  kernel.quantize = quantize;
  return kernel;
}();

}  // namespace nq
#endif
