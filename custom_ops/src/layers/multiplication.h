// MUL of int8 tensors, with XNNPACK's arithmetic: the product of the codes is exact, its scaling is in float.
#pragma once

#include <cstdint>

#include "layers/binary_run.h"
#include "layers/quantization.h"

namespace nq {

class Multiplication {
 public:
  // False where the scales are too far apart for the arithmetic.
  bool set(Quantization a, Quantization b, Quantization output, ActivationRange range);

  // out = clamp(round((a - zero_a) * (b - zero_b) * scale) + zero_point, low, high)
  void run(const BinaryRun& run) const;

 private:
  float scale_ = 0;
  int32_t zero_a_ = 0, zero_b_ = 0, zero_point_ = 0;
  ActivationRange range_;
};

}  // namespace nq
