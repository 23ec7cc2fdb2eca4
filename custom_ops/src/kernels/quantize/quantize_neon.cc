// For 64-bit Arm alone: 32-bit NEON can neither round to even nor keep subnormals.
#if defined(__aarch64__)
#include <limits>

#include "kernels/cpu.h"
#include "kernels/quantize/quantize.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {

extern const QuantizeKernel quantize_neon;

namespace {

constexpr size_t kStep = 16;  // floats
constexpr int kVectors = 4;
constexpr size_t kLanes = 4;

struct Extremes {
  float32x4_t min[kVectors], max[kVectors];
};

inline void add_floats(const float* in, Extremes* extremes) {
  for (int v = 0; v < kVectors; ++v) {
    const float32x4_t values = vld1q_f32(in + v * kLanes);
    extremes->min[v] = vminq_f32(extremes->min[v], values);  // a NaN stays
    extremes->max[v] = vmaxq_f32(extremes->max[v], values);
  }
}

FloatRange find_range(const float* in, size_t count) {
  Extremes extremes;
  for (int v = 0; v < kVectors; ++v) extremes.min[v] = extremes.max[v] = vdupq_n_f32(0);
  size_t i = 0;
#pragma GCC unroll 2
  for (; i + kStep <= count; i += kStep) add_floats(in + i, &extremes);
  if (i < count) {
    float last[kStep] = {};
    std::memcpy(last, in + i, (count - i) * sizeof(float));
    add_floats(last, &extremes);
  }
  for (int v = 1; v < kVectors; ++v) {
    extremes.min[0] = vminq_f32(extremes.min[0], extremes.min[v]);
    extremes.max[0] = vmaxq_f32(extremes.max[0], extremes.max[v]);
  }
  const float min = vminvq_f32(extremes.min[0]), max = vmaxvq_f32(extremes.max[0]);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (min != min || max != max) return {nan, nan};
  return {min + 0.0f, max};  // the lesser of two zeros is the negative one
}

// Of floats within their range, whose codes are within 16 bits before the narrowing saturates them.
inline int8x16_t codes_of(const float* in, float32x4_t inverse_scale, int16x8_t zero_point) {
  const float32x4_t rounding = vdupq_n_f32(kRounding);
  float32x4_t scaled[kVectors];
  for (int v = 0; v < kVectors; ++v) scaled[v] = vmulq_f32(vld1q_f32(in + v * kLanes), inverse_scale);
  const int16x8_t low = vaddq_s16(round_within_words(scaled[0], scaled[1], rounding), zero_point);
  const int16x8_t high = vaddq_s16(round_within_words(scaled[2], scaled[3], rounding), zero_point);
  return vcombine_s8(vqmovn_s16(low), vqmovn_s16(high));
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const float32x4_t scales = vdupq_n_f32(inverse_scale);
  const int16x8_t zero_points = vdupq_n_s16(static_cast<int16_t>(zero_point));
  size_t i = 0;
#pragma GCC unroll 2
  for (; i + kStep <= count; i += kStep) vst1q_s8(out + i, codes_of(in + i, scales, zero_points));
  if (i == count) return;
  float last[kStep] = {};
  std::memcpy(last, in + i, (count - i) * sizeof(float));
  const int8x16_t codes = codes_of(last, scales, zero_points);
  std::memcpy(out + i, &codes, count - i);
}

}  // namespace

constexpr QuantizeKernel quantize_neon = [] {
  QuantizeKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.find_range = find_range;
  kernel.quantize = quantize;
  return kernel;
}();

}  // namespace nq
#endif
