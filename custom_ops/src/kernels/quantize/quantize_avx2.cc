#if defined(__AVX2__)
#include <immintrin.h>

#include <cstring>
#include <limits>

#include "kernels/cpu.h"
#include "kernels/quantize/quantize.h"

namespace nq {

extern const QuantizeKernel quantize_avx2;

namespace {

constexpr size_t kStep = 32;  // floats
constexpr int kVectors = 4;
constexpr size_t kLanes = 8;

struct Extremes {
  __m256 min, max, unordered;
};

// The second operand is the result of a NaN and of two zeros, so that none of these ever gets into min and max.
inline void add_floats(const float* in, Extremes* extremes) {
  for (int v = 0; v < kVectors; v += 2) {
    const __m256 a = _mm256_loadu_ps(in + v * kLanes), b = _mm256_loadu_ps(in + (v + 1) * kLanes);
    extremes[0].min = _mm256_min_ps(a, extremes[0].min);
    extremes[0].max = _mm256_max_ps(a, extremes[0].max);
    extremes[1].min = _mm256_min_ps(b, extremes[1].min);
    extremes[1].max = _mm256_max_ps(b, extremes[1].max);
    extremes[0].unordered = _mm256_or_ps(extremes[0].unordered, _mm256_cmp_ps(a, b, _CMP_UNORD_Q));
  }
}

FloatRange find_range(const float* in, size_t count) {
  Extremes extremes[2] = {};
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) add_floats(in + i, extremes);
  if (i < count) {
    float last[kStep] = {};
    std::memcpy(last, in + i, (count - i) * sizeof(float));
    add_floats(last, extremes);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (_mm256_movemask_ps(extremes[0].unordered) != 0) return {nan, nan};
  float min[kLanes], max[kLanes];
  _mm256_storeu_ps(min, _mm256_min_ps(extremes[0].min, extremes[1].min));
  _mm256_storeu_ps(max, _mm256_max_ps(extremes[0].max, extremes[1].max));
  FloatRange range = {0, 0};
  for (size_t lane = 0; lane < kLanes; ++lane) {
    range.min = min[lane] < range.min ? min[lane] : range.min;
    range.max = max[lane] > range.max ? max[lane] : range.max;
  }
  return range;
}

// The packs saturate to int8.
inline __m256i codes_of(const float* in, __m256 inverse_scale, __m256i zero_point) {
  __m256i rounded[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(in + v * kLanes), inverse_scale);
    rounded[v] = _mm256_cvtps_epi32(_mm256_round_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }
  const __m256i ab = _mm256_adds_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), zero_point);
  const __m256i cd = _mm256_adds_epi16(_mm256_packs_epi32(rounded[2], rounded[3]), zero_point);
  return _mm256_permutevar8x32_epi32(_mm256_packs_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const __m256 scales = _mm256_set1_ps(inverse_scale);
  const __m256i zero_points = _mm256_set1_epi16(static_cast<int16_t>(zero_point));
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), codes_of(in + i, scales, zero_points));
  }
  if (i == count) return;
  float last[kStep] = {};
  std::memcpy(last, in + i, (count - i) * sizeof(float));
  const __m256i codes = codes_of(last, scales, zero_points);
  std::memcpy(out + i, &codes, count - i);
}

}  // namespace

constexpr QuantizeKernel quantize_avx2 = [] {
  QuantizeKernel kernel;
  kernel.isa = "avx2";
  kernel.supported = has_avx2;
  kernel.find_range = find_range;
  kernel.quantize = quantize;
  return kernel;
}();

}  // namespace nq
#endif
