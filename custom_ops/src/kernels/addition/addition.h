// Kernels for the sum of two int8 tensors of different scales, in XNNPACK's fixed-point arithmetic. As with gemm.h, ISA
// "scalar" is the specification and addition_kernels.h lists them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "status.h"

namespace nq {

// No shift is less.
inline constexpr int kLeastAdditionShift = 13;

// clamp(((a * multiplier_a + b * multiplier_b + bias) >> shift) + zero_point, low, high), nothing of which overflows.
// No multiplier is greater than 2^21.
struct AdditionTerms {
  int32_t multiplier_a, multiplier_b, bias, shift, zero_point;
  int8_t low, high;
};

struct AdditionKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  // `out` may be `a` or `b`.
  void (*add)(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) = nullptr;
};

}  // namespace nq
