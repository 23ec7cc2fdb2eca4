#include "layers/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nq {

Softmax::Softmax(const ElementwiseKernel& kernel, float input_scale, float beta, Quantization output)
    : kernel_(&kernel), output_(output) {
  const float scale = -input_scale * beta;
  for (size_t distance = 0; distance < powers_.size(); ++distance) {
    powers_[distance] = std::exp(scale * static_cast<float>(distance));
  }
}

// Each row's powers are summed in order, and one sum waits for the one before: several rows keep the CPU busy.
template <int kRows>
void Softmax::run_together(const int8_t* in, int64_t count, int8_t* out) const {
  const auto size = static_cast<size_t>(count);
  int32_t greatest[kRows];
  float sums[kRows] = {};
  for (int row = 0; row < kRows; ++row) {
    greatest[row] = kernel_->codes.greatest(in + row * count, size);
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int row = 0; row < kRows; ++row)
      sums[row] += powers_[static_cast<size_t>(greatest[row] - in[row * count + i])];
  }
  for (int row = 0; row < kRows; ++row) {
    const float factor = std::min(1.0f / (sums[row] * output_.scale), std::numeric_limits<float>::max());
    kernel_->codes.weigh(powers_.data(), greatest[row], in + row * count, size, factor, output_.zero_point,
                         out + row * count);
  }
}

void Softmax::run_rows(const int8_t* in, int64_t rows, int64_t count, int8_t* out) const {
  constexpr int kTogether = 4;
  int64_t row = 0;
  for (; row + kTogether <= rows; row += kTogether) run_together<kTogether>(in + row * count, count, out + row * count);
  for (; row < rows; ++row) run_together<1>(in + row * count, count, out + row * count);
}

}  // namespace nq
