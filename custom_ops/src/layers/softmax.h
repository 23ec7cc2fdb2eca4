// SOFTMAX of rows.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "layers/quantization.h"

namespace nq {

// Of int8, with the arithmetic of TFLite's own kernel on x86 (XNNPACK leaves int8 to it): in float, from a table of
// powers, summed in order. Its kernel for 64-bit ARM differs by a code now and then; this one is the same on every
// machine.
class Softmax {
 public:
  using Element = int8_t;

  Softmax(const ElementwiseKernel& kernel, float input_scale, float beta, Quantization output);

  void run_rows(const int8_t* in, int64_t rows, int64_t count, int8_t* out) const;

 private:
  template <int kRows>
  void run_together(const int8_t* in, int64_t count, int8_t* out) const;

  const ElementwiseKernel* kernel_;
  std::array<float, 256> powers_;  // of the distances to the greatest code, the longest first
  Quantization output_;
};

class FloatSoftmax {
 public:
  using Element = float;

  FloatSoftmax(const ElementwiseKernel& kernel, float beta) : floats_(kernel.floats), beta_(beta) {}

  void run_rows(const float* in, int64_t rows, int64_t count, float* out) const {
    for (int64_t row = 0; row < rows; ++row) run_row(in + row * count, count, out + row * count);
  }

  void run_row(const float* in, int64_t count, float* out) const {
    const auto size = static_cast<size_t>(count);
    const float sum = floats_.exponentials(in, size, floats_.greatest(in, size), beta_, out);
    floats_.scale(out, size, 1.0f / sum);
  }

 private:
  const ElementwiseKernel::Floats& floats_;
  float beta_;
};

}  // namespace nq
