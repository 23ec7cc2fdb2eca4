#include "layers/fixed_point.h"

#include <cmath>
#include <limits>

namespace nq {

FixedPoint fixed_point(double real) {
  FixedPoint result;
  if (real == 0) return result;
  if (!std::isfinite(real)) return {0, std::numeric_limits<int32_t>::max()};
  const double fraction = std::frexp(real, &result.shift);
  auto multiplier = static_cast<int64_t>(std::round(fraction * 2147483648.0));
  if (multiplier == int64_t{1} << 31) {
    multiplier /= 2;
    ++result.shift;
  }
  if (result.shift < -31) return {};
  result.multiplier = static_cast<int32_t>(multiplier);
  return result;
}

int16_t upper_half(int32_t multiplier) {
  constexpr int32_t kHalf = 1 << 15;
  if (multiplier >= std::numeric_limits<int32_t>::max() - kHalf) return std::numeric_limits<int16_t>::max();
  return static_cast<int16_t>((multiplier + kHalf) >> 16);
}

int32_t high_product(int32_t a, int32_t b) {
  constexpr int32_t kLeast = std::numeric_limits<int32_t>::min();
  if (a == kLeast && b == kLeast) return std::numeric_limits<int32_t>::max();
  const int64_t product = int64_t{a} * b;
  const int64_t nudge = product >= 0 ? int64_t{1} << 30 : 1 - (int64_t{1} << 30);
  return static_cast<int32_t>((product + nudge) / (int64_t{1} << 31));
}

int16_t high_product(int16_t a, int16_t b) {
  constexpr int16_t kLeast = std::numeric_limits<int16_t>::min();
  if (a == kLeast && b == kLeast) return std::numeric_limits<int16_t>::max();
  const int32_t product = int32_t{a} * b;
  const int32_t nudge = product >= 0 ? 1 << 14 : 1 - (1 << 14);
  return static_cast<int16_t>((product + nudge) / (1 << 15));
}

int32_t shift_right_rounded(int32_t value, int32_t bits) {
  const auto mask = static_cast<int32_t>((int64_t{1} << bits) - 1);
  const int32_t threshold = (mask >> 1) + (value < 0 ? 1 : 0);
  return (value >> bits) + ((value & mask) > threshold ? 1 : 0);
}

int32_t multiply(int32_t value, FixedPoint by) {
  const int32_t left = by.shift > 0 ? by.shift : 0, right = by.shift > 0 ? 0 : -by.shift;
  return shift_right_rounded(high_product(value * (1 << left), by.multiplier), right);
}

}  // namespace nq
