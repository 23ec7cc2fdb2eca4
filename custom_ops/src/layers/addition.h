// ADD and SUB of int8 tensors, with XNNPACK's fixed-point arithmetic.
#pragma once

#include <cstdint>

#include "kernels/addition/addition.h"
#include "layers/binary_run.h"
#include "layers/quantization.h"

namespace nq {

class Addition {
 public:
  using Element = int8_t;

  struct Operand {
    float scale;  // over the output's; negative if it is to be subtracted
    int32_t zero_point;
  };

  explicit Addition(const AdditionKernel& kernel) : kernel_(&kernel) {}

  // False where the scales are too far apart for the arithmetic.
  bool set(Operand a, Operand b, int32_t output_zero_point, ActivationRange range);

  void run(const BinaryRun<int8_t>& run) const;

 private:
  const AdditionKernel* kernel_;
  AdditionTerms terms_ = {};
};

}  // namespace nq
