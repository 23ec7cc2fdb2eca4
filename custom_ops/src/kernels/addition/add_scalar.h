// Textual for kernel files: internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/addition/addition.h"

namespace nq {
namespace {

// The specification.
inline int8_t add_scalar(const AdditionTerms& terms, int8_t a, int8_t b) {
  const int32_t sum = (a * terms.multiplier_a + b * terms.multiplier_b + terms.bias) >> terms.shift;
  const int32_t code = sum + terms.zero_point;
  return code < terms.low ? terms.low : code > terms.high ? terms.high : static_cast<int8_t>(code);
}

}  // namespace
}  // namespace nq
