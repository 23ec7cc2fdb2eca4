// Once a row or a group: the choice of scale and zero point, for every kernel.
#include "kernels/quantize/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace nq {
namespace {

constexpr float kLowest = -128, kHighest = 127;

// Products of a group's scales, and sums of them, then are normal numbers: 32-bit Arm's vectors know no others.
constexpr float kLeastOfGroup = 0x1p-80f;

// XNNPACK's arithmetic: the end of the range that a rounded zero point moves less is kept.
int32_t nudged_zero_point(FloatRange range, float inverse_scale) {
  const float from_min = kLowest - range.min * inverse_scale, from_max = kHighest - range.max * inverse_scale;
  const float min_error = kLowest + range.min * inverse_scale, max_error = kHighest + range.max * inverse_scale;
  const float zero_point = min_error + max_error > 0 ? from_min : from_max;
  constexpr float kOneAndAHalfTimes2To23 =
      12582912.0f;  // added, it leaves no place for a fraction: no call of a library
  const float rounded = std::min(std::max(zero_point, kLowest), kHighest) + kOneAndAHalfTimes2To23;
  return static_cast<int32_t>(rounded - kOneAndAHalfTimes2To23);
}

}  // namespace

FloatRange join(FloatRange a, FloatRange b) {
  if (std::isnan(a.min)) return a;
  if (std::isnan(b.min)) return b;
  return {std::min(a.min, b.min), std::max(a.max, b.max)};
}

ActivationQuantization quantization_of(FloatRange range) {
  const float width = range.max - range.min;
  if (!std::isfinite(width)) return {std::numeric_limits<float>::quiet_NaN(), 0, 0};
  const float inverse_scale = (kHighest - kLowest) / width;
  if (std::isinf(inverse_scale)) return {1, 0, 0};
  return {1 / inverse_scale, inverse_scale, nudged_zero_point(range, inverse_scale)};
}

void quantize(const QuantizeKernel& kernel, const float* in, size_t count, const ActivationQuantization& quantization,
              int8_t* out) {
  if (quantization.inverse_scale == 0) {  // no float of such a range may be converted
    std::memset(out, quantization.zero_point, count);
  } else {
    kernel.quantize(in, count, quantization.inverse_scale, quantization.zero_point, out);
  }
}

ActivationQuantization quantize_group(const QuantizeKernel& kernel, const float* in, size_t count, int8_t* out) {
  const FloatRange range = kernel.find_range(in, count);
  const bool counts_as_zeros = range.max - range.min < kLeastOfGroup;
  const ActivationQuantization quantization =
      counts_as_zeros ? ActivationQuantization{0, 0, 0} : quantization_of(range);
  quantize(kernel, in, count, quantization, out);
  return quantization;
}

}  // namespace nq
