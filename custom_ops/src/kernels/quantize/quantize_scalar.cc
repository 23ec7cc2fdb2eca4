// The specification, one float at a time.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu.h"
#include "kernels/quantize/quantize.h"

namespace nq {

extern const QuantizeKernel quantize_scalar;

namespace {

FloatRange find_range(const float* in, size_t count) {
  FloatRange range = {0, 0};
  bool has_nan = false;
  for (size_t i = 0; i < count; ++i) {
    range.min = in[i] < range.min ? in[i] : range.min;
    range.max = in[i] > range.max ? in[i] : range.max;
    has_nan |= std::isnan(in[i]);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  return has_nan ? FloatRange{nan, nan} : range;
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t code = static_cast<int32_t>(std::nearbyint(in[i] * inverse_scale)) + zero_point;
    out[i] = static_cast<int8_t>(std::clamp(code, -128, 127));
  }
}

}  // namespace

constexpr QuantizeKernel quantize_scalar = [] {
  QuantizeKernel kernel;
  kernel.isa = "scalar";
  kernel.supported = always;
  kernel.find_range = find_range;
  kernel.quantize = quantize;
  return kernel;
}();

}  // namespace nq
