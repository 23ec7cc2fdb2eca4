// ADD of two int8 tensors of the same shape, with XNNPACK's fixed-point arithmetic.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nq {

class Addition {
 public:
  struct Operand {
    float scale;  // over the output's
    int32_t zero_point;
  };

  // False where the scales are too far apart for the arithmetic.
  bool set(Operand a, Operand b, int32_t output_zero_point, int8_t low, int8_t high);

  // out = clamp(((a * multiplier_a + b * multiplier_b + bias) >> shift) + zero_point, low, high)
  void run(const int8_t* a, const int8_t* b, size_t count, int8_t* out) const;

 private:
  int32_t multiplier_a_ = 0, multiplier_b_ = 0, bias_ = 0, shift_ = 0, zero_point_ = 0;
  int32_t low_ = 0, high_ = 0;
};

}  // namespace nq
