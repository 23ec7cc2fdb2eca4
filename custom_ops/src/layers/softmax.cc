#include "layers/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nq {

Softmax::Softmax(const ElementwiseKernel& kernel, float input_scale, float beta, Quantization output)
    : kernel_(&kernel), output_(output) {
  const float scale = -input_scale * beta;
  for (size_t distance = 0; distance < powers_.size(); ++distance) {
    powers_[powers_.size() - 1 - distance] = std::exp(scale * static_cast<float>(distance));
  }
}

// Each row's powers are summed in order, and one sum waits for the one before: several rows keep the CPU busy. What
// becomes of a code depends on it and on its row alone: a table of the row's results is looked up in vectors.
template <int kRows>
void Softmax::run_together(const int8_t* in, int64_t count, int8_t* out) const {
  const auto size = static_cast<size_t>(count);
  const float* powers[kRows];  // of code -128, and on to the row's greatest
  size_t num_codes[kRows];
  float sums[kRows] = {};
  for (int row = 0; row < kRows; ++row) {
    num_codes[row] = static_cast<size_t>(kernel_->codes.greatest(in + row * count, size) + 129);
    powers[row] = powers_.data() + powers_.size() - num_codes[row];
  }
  for (int64_t i = 0; i < count; ++i) {
    for (int row = 0; row < kRows; ++row) sums[row] += powers[row][in[row * count + i] + 128];
  }
  for (int row = 0; row < kRows; ++row) {
    const float factor = std::min(1.0f / (sums[row] * output_.scale), std::numeric_limits<float>::max());
    int8_t results[256] = {};
    kernel_->codes.weigh(powers[row], num_codes[row], factor, output_.zero_point, results);
    kernel_->look_up(results, in + row * count, size, out + row * count);
  }
}

void Softmax::run_rows(const int8_t* in, int64_t rows, int64_t count, int8_t* out) const {
  constexpr int kTogether = 8;
  int64_t row = 0;
  for (; row + kTogether <= rows; row += kTogether) run_together<kTogether>(in + row * count, count, out + row * count);
  for (; row < rows; ++row) run_together<1>(in + row * count, count, out + row * count);
}

}  // namespace nq
