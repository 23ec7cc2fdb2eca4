#include "layers/addition.h"

#include <algorithm>
#include <cmath>

namespace nq {
namespace {

constexpr int kMultiplierBits = 20;
constexpr float kMinScale = 1.0f / 1024, kMaxScale = 256.0f;

}  // namespace

bool Addition::set(Operand a, Operand b, int32_t output_zero_point, int8_t low, int8_t high) {
  const float largest = std::max(a.scale, b.scale);
  if (!(std::min(a.scale, b.scale) >= kMinScale && largest < kMaxScale)) return false;
  const int shift = kMultiplierBits - std::ilogb(largest);  // so that the larger multiplier has 21 bits
  const auto multiplier_a = static_cast<int32_t>(std::lrint(std::ldexp(a.scale, shift)));
  const auto multiplier_b = static_cast<int32_t>(std::lrint(std::ldexp(b.scale, shift)));
  const int32_t bias = (int32_t{1} << (shift - 1)) - multiplier_a * a.zero_point - multiplier_b * b.zero_point;
  terms_ = {multiplier_a, multiplier_b, bias, shift, output_zero_point, low, high};
  return true;
}

}  // namespace nq
