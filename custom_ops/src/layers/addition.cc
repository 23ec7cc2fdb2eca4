#include "layers/addition.h"

#include <algorithm>
#include <cmath>

namespace nq {
namespace {

constexpr int kMultiplierBits = 20;
constexpr float kMinScale = 1.0f / 1024, kMaxScale = 256.0f;
static_assert(kMultiplierBits - 7 == kLeastAdditionShift);  // 2^7 is the largest power of two below kMaxScale

}  // namespace

bool Addition::set(Operand a, Operand b, int32_t output_zero_point, ActivationRange range) {
  const float largest = std::max(std::abs(a.scale), std::abs(b.scale));
  if (!(std::min(std::abs(a.scale), std::abs(b.scale)) >= kMinScale && largest < kMaxScale)) return false;
  const int shift = kMultiplierBits - std::ilogb(largest);  // so that the larger multiplier has 21 bits
  const auto multiplier_a = static_cast<int32_t>(std::lrint(std::ldexp(a.scale, shift)));
  const auto multiplier_b = static_cast<int32_t>(std::lrint(std::ldexp(b.scale, shift)));
  const int32_t bias = (int32_t{1} << (shift - 1)) - multiplier_a * a.zero_point - multiplier_b * b.zero_point;
  terms_ = {multiplier_a, multiplier_b, bias, shift, output_zero_point, range.low, range.high};
  return true;
}

void Addition::run(const BinaryRun<int8_t>& run) const {
  AdditionTerms terms = terms_;
  const int8_t *a = run.a, *b = run.b;
  if (run.a_step == 0) {  // what stands still is a part of the bias, and a factor of 0 takes its place
    terms.bias += terms.multiplier_a * *a;
    terms.multiplier_a = 0;
    a = b;
  } else if (run.b_step == 0) {
    terms.bias += terms.multiplier_b * *b;
    terms.multiplier_b = 0;
    b = a;
  }
  kernel_->add(terms, a, b, static_cast<size_t>(run.count), run.out);
}

}  // namespace nq
