// ADD and SUB of int8 tensors, with XNNPACK's fixed-point arithmetic.
#pragma once

#include <cstdint>

#include "layers/binary_run.h"
#include "layers/quantization.h"

namespace nq {

class Addition {
 public:
  struct Operand {
    float scale;  // over the output's; negative if it is to be subtracted
    int32_t zero_point;
  };

  // False where the scales are too far apart for the arithmetic.
  bool set(Operand a, Operand b, int32_t output_zero_point, ActivationRange range);

  // out = clamp(((a * multiplier_a + b * multiplier_b + bias) >> shift) + zero_point, low, high)
  void run(const BinaryRun& run) const;

 private:
  int32_t multiplier_a_ = 0, multiplier_b_ = 0, bias_ = 0, shift_ = 0, zero_point_ = 0;
  ActivationRange range_;
};

}  // namespace nq
