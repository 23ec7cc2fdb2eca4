// Arithmetic of two int8 tensors as TFLite's own kernels have it, for what XNNPACK leaves to them: both operands are
// rescaled in fixed point, and so is what becomes of them.
#pragma once

#include <array>

#include "layers/binary_run.h"
#include "layers/fixed_point.h"
#include "layers/quantization.h"

namespace nq {

// SQUARED_DIFFERENCE, and ADD and SUB of scales that are far apart.
class ReferenceArithmetic {
 public:
  using Element = int8_t;
  enum Operation { kAdd, kSubtract, kSquaredDifference };

  ReferenceArithmetic(const ElementwiseKernel& kernel, Operation operation) : kernel_(&kernel), operation_(operation) {}

  // False where TFLite's kernel refuses the scales.
  bool set(Quantization a, Quantization b, Quantization output, ActivationRange range);

  void run(const BinaryRun<int8_t>& run) const;

 private:
  // Of one run, each of whose results depends on one code alone: through a table of them.
  void run_by_table(const BinaryRun<int8_t>& run) const;

  // Of up to kTile elements, with the operands' rescaled values.
  void combine(const BinaryRun<int8_t>& run, int64_t begin, int64_t count, int32_t* values) const;
  // What becomes of up to kTile of them.
  void finish(const int32_t* values, int64_t count, int8_t* out) const;

  const ElementwiseKernel* kernel_;
  Operation operation_;
  std::array<int32_t, 256> a_ = {}, b_ = {};  // rescaled, by code
  RescalingTerms terms_ = {};
  ActivationRange range_;
};

}  // namespace nq
