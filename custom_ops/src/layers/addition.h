// ADD of two int8 tensors of the same shape, with XNNPACK's fixed-point arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/addition.h"

namespace nq {

class Addition {
 public:
  struct Operand {
    float scale;  // over the output's
    int32_t zero_point;
  };

  explicit Addition(const AdditionKernel& kernel) : kernel_(&kernel) {}

  // False where the scales are too far apart for the arithmetic.
  bool set(Operand a, Operand b, int32_t output_zero_point, int8_t low, int8_t high);

  // Both tensors of `count` elements.
  void run(const int8_t* a, const int8_t* b, size_t count, int8_t* out) const {
    kernel_->add(terms_, a, b, count, out);
  }

 private:
  const AdditionKernel* kernel_;
  AdditionTerms terms_ = {};
};

}  // namespace nq
