#include "layers/table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "layers/fixed_point.h"

namespace nq {
namespace {

template <typename Function>
void fill(Table* table, const Function& function) {
  for (int32_t code = -128; code < 128; ++code) (*table)[code] = function(code);
}

// Of a function of real numbers.
template <typename Function>
Table float_table(const ElementwiseKernel& kernel, Quantization input, Quantization output, const Function& function) {
  const float inverse = 1.0f / output.scale;
  Table table(kernel);
  fill(&table, [&](int32_t code) {
    const float x = (static_cast<float>(code) - static_cast<float>(input.zero_point)) * input.scale;
    const float result = function(x) * inverse + static_cast<float>(output.zero_point);
    return static_cast<int8_t>(std::nearbyint(std::min(std::max(result, -128.0f), 127.0f)));
  });
  return table;
}

constexpr int32_t kMaxShift = 15;  // either way
constexpr float kLeastRatio = 1.0f / 256, kGreatestRatio = 128.0f;

bool within_ratios(float ratio) { return ratio >= kLeastRatio && ratio <= kGreatestRatio; }

// 8 bits behind the point.
int32_t short_multiplier(float ratio) { return static_cast<int32_t>(std::lrint(256.0f * ratio)); }

int8_t short_multiply(int32_t value, int32_t multiplier, int32_t zero_point) {
  return clamp_to_int8((value * multiplier + zero_point * 256 + 128) >> 8);
}

int16_t saturate(int64_t value) {
  using Limits = std::numeric_limits<int16_t>;
  return static_cast<int16_t>(std::min<int64_t>(std::max<int64_t>(value, Limits::min()), Limits::max()));
}

// x, as 7 bits more than its codes, rescaled so that 3.0 is 2^15, and that moved from [-1, 1] to [0, 1].
int16_t reluish(int16_t x, FixedPoint scale) {
  const int16_t multiplier = upper_half(scale.multiplier);
  int16_t value = scale.shift > 0 ? saturate(int64_t{x} * (int64_t{1} << (scale.shift - 1))) : x;
  value = high_product(value, multiplier);
  if (scale.shift > 0) value = saturate(int64_t{value} * 2);
  if (scale.shift < 0) value = static_cast<int16_t>(shift_right_rounded(value, -scale.shift));
  return static_cast<int16_t>((value + (1 << 15)) >> 1);
}

// 1 / sqrt(value), as a multiplier in fixed point: Newton's iteration, with 3 bits before the point.
FixedPoint inverse_root(int32_t value) {
  if (value <= 1) return {std::numeric_limits<int32_t>::max(), 0};
  const int32_t pairs = (__builtin_clz(static_cast<uint32_t>(value)) - 1) / 2 - 1;
  const int32_t normalized = value << (2 * pairs), half = shift_right_rounded(normalized >> 1, 1);
  constexpr int32_t kOne = 1 << 28, kThreeHalves = (1 << 28) + (1 << 27), kHalfRootOfTwo = 1518500250;
  const auto times_8 = [](int32_t x) {
    constexpr int32_t kMost = std::numeric_limits<int32_t>::max() / 8;
    return x > kMost ? std::numeric_limits<int32_t>::max() : x < -kMost ? std::numeric_limits<int32_t>::min() : x * 8;
  };
  int32_t x = kOne;
  for (int i = 0; i < 5; ++i) {
    // A product of two numbers with 3 bits before the point has 6, one of three has 9.
    const int32_t cube = times_8(times_8(high_product(high_product(x, x), x)));
    x = times_8(high_product(kThreeHalves, x) - high_product(half, cube));
  }
  const int32_t multiplier = high_product(x, kHalfRootOfTwo), shift = pairs - 11;
  return shift > 0 ? FixedPoint{multiplier << shift, 0} : FixedPoint{multiplier, shift};
}

}  // namespace

void Table::run(const int8_t* in, int64_t count, int8_t* out) const {
  kernel_->look_up(results_.data(), in, static_cast<size_t>(count), out);
}

Table logistic_table(const ElementwiseKernel& kernel, Quantization input, Quantization output) {
  return float_table(kernel, input, output, [](float x) {
    if (x > 100) return 1.0f;
    if (x < -100) return 0.0f;
    const double power = std::exp(static_cast<double>(x));
    return static_cast<float>(power / (1 + power));
  });
}

Table tanh_table(const ElementwiseKernel& kernel, Quantization input, Quantization output) {
  return float_table(kernel, input, output, [](float x) { return std::tanh(x); });
}

Table elu_table(const ElementwiseKernel& kernel, Quantization input, Quantization output) {
  return float_table(kernel, input, output, [](float x) { return x < 0 ? std::expm1(x) : x; });
}

bool make_leaky_relu_table(Quantization input, Quantization output, float slope, Table* table) {
  const float ratio = input.scale / output.scale, negative_ratio = ratio * slope;
  if (!within_ratios(ratio) || !within_ratios(std::abs(negative_ratio)) || negative_ratio < -127.99609375f)
    return false;
  const int32_t positive = short_multiplier(ratio), negative = short_multiplier(negative_ratio);
  fill(table, [&](int32_t code) {
    const int32_t value = code - input.zero_point;
    return short_multiply(value, value < 0 ? negative : positive, output.zero_point);
  });
  return true;
}

bool make_requantize_table(Quantization input, Quantization output, Table* table) {
  const float ratio = input.scale / output.scale;
  if (!within_ratios(ratio)) return false;
  const int32_t multiplier = short_multiplier(ratio);
  fill(table, [&](int32_t code) { return short_multiply(code - input.zero_point, multiplier, output.zero_point); });
  return true;
}

bool make_relu_table(Quantization input, Quantization output, ActivationRange range, Table* table) {
  const FixedPoint ratio = fixed_point(input.scale / output.scale);
  if (ratio.shift > kMaxShift) return false;
  fill(table, [&](int32_t code) {
    return clamp_to_int8(multiply(code - input.zero_point, ratio) + output.zero_point, range.low, range.high);
  });
  return true;
}

Table gelu_table(const ElementwiseKernel& kernel, Quantization input, Quantization output, bool approximate) {
  const float inverse = 1.0f / output.scale;
  constexpr auto kRootOfTwoOverPi = static_cast<float>(0.7978845608028654);
  Table table(kernel);
  fill(&table, [&](int32_t code) {
    const float x = input.scale * static_cast<float>(code - input.zero_point);
    const float by_tanh = 0.5f * x * (1.0f + std::tanh(kRootOfTwoOverPi * (x + 0.044715f * x * x * x)));
    const float result = approximate ? by_tanh : 0.5f * x * std::erfc(x * static_cast<float>(-M_SQRT1_2));
    const float value = std::round(result * inverse) + static_cast<float>(output.zero_point);
    return static_cast<int8_t>(std::min(std::max(value, -128.0f), 127.0f));
  });
  return table;
}

bool make_inverse_root_table(Quantization input, Quantization output, Table* table) {
  constexpr int32_t kBits = 20;  // behind the point
  const FixedPoint ratio = fixed_point(1.0 / static_cast<double>(std::sqrt(input.scale) * output.scale));
  if (ratio.shift - kBits < -31 || ratio.shift - kBits > 0) return false;
  fill(table, [&](int32_t code) {
    const int32_t value = code - input.zero_point;
    if (value <= 0) return int8_t{127};
    const FixedPoint root = inverse_root(value);
    const int32_t scaled = multiply(1, {root.multiplier, root.shift + kBits});
    return clamp_to_int8(multiply(scaled, {ratio.multiplier, ratio.shift - kBits}) + output.zero_point);
  });
  return true;
}

bool make_hard_swish_table(Quantization input, Quantization output, Table* table) {
  const float fine_scale = 1.0f / 128.0f * input.scale;
  const FixedPoint to_output = fixed_point(fine_scale / output.scale);
  const FixedPoint to_three = fixed_point(fine_scale / (3.0f / 32768.0f));
  if (to_output.shift > 0 || std::min(to_output.shift, to_three.shift) < -kMaxShift || to_three.shift > kMaxShift) {
    return false;
  }
  fill(table, [&](int32_t code) {
    const auto x = static_cast<int16_t>((code - input.zero_point) * 128);
    const int16_t scaled = high_product(x, upper_half(to_output.multiplier));
    const int32_t product = int32_t{reluish(x, to_three)} * scaled / (1 << 15);  // towards zero, unlike the others
    return clamp_to_int8(shift_right_rounded(product, -to_output.shift) + output.zero_point);
  });
  return true;
}

}  // namespace nq
