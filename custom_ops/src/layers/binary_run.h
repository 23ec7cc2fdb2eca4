// A run of elements of an operator with two operands.
#pragma once

#include <cstdint>

namespace nq {

struct BinaryRun {
  const int8_t *a, *b;
  int64_t a_step, b_step;  // 0: the same element again and again; 1
  int64_t count;
  int8_t* out;
};

// out = combine(a, b), in a loop for each kind of run.
template <typename Combine>
void combine(const BinaryRun& run, const Combine& combine) {
  const int8_t *a = run.a, *b = run.b;
  int8_t* out = run.out;
  if (run.a_step == 0) {
    const int8_t value = *a;
    for (int64_t i = 0; i < run.count; ++i) out[i] = combine(value, b[i]);
  } else if (run.b_step == 0) {
    const int8_t value = *b;
    for (int64_t i = 0; i < run.count; ++i) out[i] = combine(a[i], value);
  } else {
    for (int64_t i = 0; i < run.count; ++i) out[i] = combine(a[i], b[i]);
  }
}

}  // namespace nq
