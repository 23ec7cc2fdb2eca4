#include "layers/multiplication.h"

namespace nq {
namespace {

constexpr float kMinScale = 1.0f / 65536, kMaxScale = 256.0f;

}  // namespace

bool Multiplication::set(Quantization a, Quantization b, Quantization output, ActivationRange range) {
  scale_ = a.scale * b.scale / output.scale;  // in XNNPACK's order
  zero_a_ = a.zero_point;
  zero_b_ = b.zero_point;
  zero_point_ = output.zero_point;
  range_ = range;
  return scale_ >= kMinScale && scale_ < kMaxScale;
}

void Multiplication::run(const BinaryRun& run) const {
  const float scale = scale_;
  const int32_t zero_a = zero_a_, zero_b = zero_b_, zero = zero_point_, low = range_.low, high = range_.high;
  combine(run, [=](int8_t a, int8_t b) {
    const int32_t product = (a - zero_a) * (b - zero_b);
    return clamp_to_int8(round_to_int16(static_cast<float>(product) * scale) + zero, low, high);
  });
}

}  // namespace nq
