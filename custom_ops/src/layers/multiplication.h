// MUL of int8 tensors, with XNNPACK's arithmetic: the product of the codes is exact, its scaling is in float.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "layers/binary_run.h"
#include "layers/quantization.h"

namespace nq {

class Multiplication {
 public:
  using Element = int8_t;

  explicit Multiplication(const ElementwiseKernel& kernel) : kernel_(kernel) {}

  // False where the scales are too far apart for the arithmetic.
  bool set(Quantization a, Quantization b, Quantization output, ActivationRange range);

  // out = clamp(round((a - zero_a) * (b - zero_b) * scale) + zero_point, low, high)
  void run(const BinaryRun<int8_t>& run) const;

 private:
  const ElementwiseKernel& kernel_;
  MultiplicationTerms terms_ = {};
};

}  // namespace nq
