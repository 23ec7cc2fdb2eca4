#include "layers/multiplication.h"

#include <utility>

namespace nq {
namespace {

constexpr float kMinScale = 1.0f / 65536, kMaxScale = 256.0f;

}  // namespace

bool Multiplication::set(Quantization a, Quantization b, Quantization output, ActivationRange range) {
  const float scale = a.scale * b.scale / output.scale;  // in XNNPACK's order
  terms_ = {scale, a.zero_point, b.zero_point, output.zero_point, range.low, range.high};
  return scale >= kMinScale && scale < kMaxScale;
}

void Multiplication::run(const BinaryRun<int8_t>& run) const {
  const auto count = static_cast<size_t>(run.count);
  if (run.a_step == 0) {
    MultiplicationTerms swapped = terms_;
    std::swap(swapped.zero_a, swapped.zero_b);
    kernel_.multiply.by_one(swapped, run.b, *run.a, count, run.out);
  } else if (run.b_step == 0) {
    kernel_.multiply.by_one(terms_, run.a, *run.b, count, run.out);
  } else {
    kernel_.multiply.of_both(terms_, run.a, run.b, count, run.out);
  }
}

}  // namespace nq
