// ADD, SUB and MUL of float tensors, with a fused activation.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/quantize/quantize.h"
#include "layers/binary_run.h"

namespace nq {

class FloatArithmetic {
 public:
  using Element = float;
  enum class Operation { kAdd, kSubtract, kMultiply };

  FloatArithmetic(const ElementwiseKernel& kernel, Operation operation, FloatRange range)
      : kernel_(kernel), operation_(operation), range_(range) {}

  void run(const BinaryRun<float>& run) const {
    const FloatOperands operands = {run.a, run.b, run.a_step, run.b_step};
    const auto apply = operation_ == Operation::kAdd        ? kernel_.floats.add
                       : operation_ == Operation::kSubtract ? kernel_.floats.subtract
                                                            : kernel_.floats.multiply;
    apply(operands, range_.min, range_.max, static_cast<size_t>(run.count), run.out);
  }

 private:
  const ElementwiseKernel& kernel_;
  Operation operation_;
  FloatRange range_;
};

}  // namespace nq
