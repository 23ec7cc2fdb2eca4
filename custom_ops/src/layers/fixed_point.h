// TFLite's fixed-point arithmetic: a real multiplier as an integer one and a power of two.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"

namespace nq {

// multiplier * 2^(shift - 31)
struct FixedPoint {
  int32_t multiplier = 0;
  int32_t shift = 0;
};

// Of what is not finite, with a shift beyond any use.
FixedPoint fixed_point(double real);

// The upper 16 bits of a multiplier, rounded.
int16_t upper_half(int32_t multiplier);

// a * b / 2^31 and a * b / 2^15, rounded to nearest, halves upwards in magnitude.
int32_t high_product(int32_t a, int32_t b);
int16_t high_product(int16_t a, int16_t b);

// value / 2^bits, rounded to nearest, halves away from zero.
int32_t shift_right_rounded(int32_t value, int32_t bits);

int32_t multiply(int32_t value, FixedPoint by);

// The same, for a kernel, plus a zero point.
inline RescalingTerms rescaling_terms(FixedPoint by, int32_t zero_point) {
  return {by.multiplier, by.shift > 0 ? by.shift : 0, by.shift > 0 ? 0 : -by.shift, zero_point};
}

}  // namespace nq
