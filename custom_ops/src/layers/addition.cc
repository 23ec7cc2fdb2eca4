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
  shift_ = kMultiplierBits - std::ilogb(largest);  // so that the larger multiplier has 21 bits
  multiplier_a_ = static_cast<int32_t>(std::lrint(std::ldexp(a.scale, shift_)));
  multiplier_b_ = static_cast<int32_t>(std::lrint(std::ldexp(b.scale, shift_)));
  bias_ = (int32_t{1} << (shift_ - 1)) - multiplier_a_ * a.zero_point - multiplier_b_ * b.zero_point;
  zero_point_ = output_zero_point;
  low_ = low;
  high_ = high;
  return true;
}

void Addition::run(const int8_t* a, const int8_t* b, size_t count, int8_t* out) const {
  const int32_t ma = multiplier_a_, mb = multiplier_b_, bias = bias_, shift = shift_, zero = zero_point_;
  const int32_t low = low_, high = high_;
  for (size_t i = 0; i < count; ++i) {
    const int32_t sum = ((a[i] * ma + b[i] * mb + bias) >> shift) + zero;
    out[i] = static_cast<int8_t>(std::min(std::max(sum, low), high));
  }
}

}  // namespace nq
