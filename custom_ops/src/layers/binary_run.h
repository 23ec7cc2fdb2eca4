// A run of elements of an operator with two operands.
#pragma once

#include <cstdint>

namespace nq {

template <typename Element>
struct BinaryRun {
  const Element *a, *b;
  int64_t a_step, b_step;  // 0: the same element again and again; 1
  int64_t count;
  Element* out;
};

}  // namespace nq
