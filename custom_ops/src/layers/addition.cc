#include "layers/addition.h"

#include <algorithm>
#include <cmath>

namespace nq {
namespace {

constexpr int kMultiplierBits = 20;
constexpr float kMinScale = 1.0f / 1024, kMaxScale = 256.0f;

}  // namespace

bool Addition::set(Operand a, Operand b, int32_t output_zero_point, ActivationRange range) {
  const float largest = std::max(std::abs(a.scale), std::abs(b.scale));
  if (!(std::min(std::abs(a.scale), std::abs(b.scale)) >= kMinScale && largest < kMaxScale)) return false;
  shift_ = kMultiplierBits - std::ilogb(largest);  // so that the larger multiplier has 21 bits
  multiplier_a_ = static_cast<int32_t>(std::lrint(std::ldexp(a.scale, shift_)));
  multiplier_b_ = static_cast<int32_t>(std::lrint(std::ldexp(b.scale, shift_)));
  bias_ = (int32_t{1} << (shift_ - 1)) - multiplier_a_ * a.zero_point - multiplier_b_ * b.zero_point;
  zero_point_ = output_zero_point;
  range_ = range;
  return true;
}

void Addition::run(const BinaryRun& run) const {
  const int32_t ma = multiplier_a_, mb = multiplier_b_, bias = bias_, shift = shift_, zero = zero_point_;
  const int32_t low = range_.low, high = range_.high;
  combine(run,
          [=](int8_t a, int8_t b) { return clamp_to_int8(((a * ma + b * mb + bias) >> shift) + zero, low, high); });
}

}  // namespace nq
