// Functions of one int8 tensor as tables of their 256 results. Each says whose arithmetic it has: XNNPACK's, or that of
// TFLite's own kernel where XNNPACK leaves int8 to it.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "layers/quantization.h"

namespace nq {

class Table {
 public:
  explicit Table(const ElementwiseKernel& kernel) : kernel_(&kernel) {}
  int8_t& operator[](int32_t code) { return results_[static_cast<size_t>(code + 128)]; }
  int8_t operator[](int32_t code) const { return results_[static_cast<size_t>(code + 128)]; }
  void run(const int8_t* in, int64_t count, int8_t* out) const;

 private:
  const ElementwiseKernel* kernel_;
  std::array<int8_t, 256> results_ = {};
};

// XNNPACK's: in float.
Table logistic_table(const ElementwiseKernel& kernel, Quantization input, Quantization output);
Table tanh_table(const ElementwiseKernel& kernel, Quantization input, Quantization output);
Table elu_table(const ElementwiseKernel& kernel, Quantization input, Quantization output);

// XNNPACK's: in fixed point with 8 bits behind the point. False where the scales are too far apart for it.
bool make_leaky_relu_table(Quantization input, Quantization output, float slope, Table* table);
bool make_requantize_table(Quantization input, Quantization output, Table* table);

// TFLite's: rescaled in fixed point, then clamped. False where the scales are too far apart.
bool make_relu_table(Quantization input, Quantization output, ActivationRange range, Table* table);

// TFLite's: in float, and rounded before the zero point is added.
Table gelu_table(const ElementwiseKernel& kernel, Quantization input, Quantization output, bool approximate);

// TFLite's: in fixed point. False where the scales are too far apart. What is not positive gives 127; TFLite's kernel
// fails on what is negative.
bool make_inverse_root_table(Quantization input, Quantization output, Table* table);

// TFLite's: in 16-bit fixed point. False where its kernel refuses the scales.
bool make_hard_swish_table(Quantization input, Quantization output, Table* table);

}  // namespace nq
