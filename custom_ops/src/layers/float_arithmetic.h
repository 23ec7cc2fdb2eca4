// Arithmetic of two float tensors, with a fused activation.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/quantize/quantize.h"
#include "layers/binary_run.h"

namespace nq {

class FloatArithmetic {
 public:
  using Element = float;

  FloatArithmetic(ElementwiseKernel::Floats::Binary function, FloatRange range) : function_(function), range_(range) {}

  void run(const BinaryRun<float>& run) const {
    function_({run.a, run.b, run.a_step, run.b_step}, range_.min, range_.max, static_cast<size_t>(run.count), run.out);
  }

 private:
  ElementwiseKernel::Floats::Binary function_;
  FloatRange range_;
};

}  // namespace nq
