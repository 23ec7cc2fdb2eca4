// Questions about TFLite tensors that several operators ask.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/quantize/quantize.h"
#include "layers/quantization.h"
#include "tflite_abi.h"

namespace nq {

// TFLite's fused activations that the kernels have.
enum FusedActivation { kActivationNone = 0, kActivationRelu = 1, kActivationReluN1To1 = 2, kActivationRelu6 = 3 };

enum PaddingMode { kPaddingSame = 1, kPaddingValid = 2 };

inline const TfLiteTensor* tensor_at(const TfLiteContext& context, int index) {
  const bool inside = index >= 0 && static_cast<size_t>(index) < context.tensors_size;
  return inside ? &context.tensors[index] : nullptr;
}

// Has as many elements as its shape says: runtimes check that of all constants but sparse ones.
inline bool is_dense(const TfLiteTensor& tensor) { return tensor.dims != nullptr && tensor.sparsity == nullptr; }

// Quantized per tensor, with parameters that make sense: a scale that has a reciprocal, among others.
inline bool is_quantized_int8(const TfLiteTensor* tensor) {
  return tensor != nullptr && tensor->type == kTfLiteInt8 && is_dense(*tensor) && tensor->params.scale > 0 &&
         std::isnormal(tensor->params.scale) && tensor->params.zero_point >= -128 && tensor->params.zero_point <= 127;
}

inline bool is_float(const TfLiteTensor* tensor) {
  return tensor != nullptr && tensor->type == kTfLiteFloat32 && is_dense(*tensor);
}

inline Quantization quantization_of(const TfLiteTensor& tensor) {
  return {tensor.params.scale, tensor.params.zero_point};
}

inline bool is_constant(const TfLiteTensor& tensor) {
  return tensor.allocation_type == kTfLiteMmapRo && tensor.data != nullptr;
}

inline bool same_quantization(const TfLiteTensor& a, const TfLiteTensor& b) {
  return a.params.scale == b.params.scale && a.params.zero_point == b.params.zero_point;
}

inline int8_t quantized(float value, const TfLiteTensor& tensor) {
  const float code = std::round(value / tensor.params.scale) + static_cast<float>(tensor.params.zero_point);
  return static_cast<int8_t>(std::clamp(code, -128.0f, 127.0f));
}

// Of the output's codes under a fused activation.
inline ActivationRange activation_range(int activation, const TfLiteTensor& output) {
  ActivationRange range{-128, 127};
  if (activation == kActivationRelu || activation == kActivationRelu6) range.low = quantized(0.0f, output);
  if (activation == kActivationReluN1To1) range = {quantized(-1.0f, output), quantized(1.0f, output)};
  if (activation == kActivationRelu6) range.high = quantized(6.0f, output);
  return range;
}

// Of an output of floats.
inline FloatRange float_activation_range(int activation) {
  const float infinity = std::numeric_limits<float>::infinity();
  if (activation == kActivationRelu) return {0, infinity};
  if (activation == kActivationReluN1To1) return {-1, 1};
  if (activation == kActivationRelu6) return {0, 6};
  return {-infinity, infinity};
}

inline bool is_known(int activation) { return activation >= kActivationNone && activation <= kActivationRelu6; }

inline bool refuse(std::string* reason, const char* why) {
  *reason = why;
  return false;
}

// For activations of which not both are is_quantized_int8(): why an operator stays with the runtime.
inline const char* not_int8(const TfLiteTensor* input, const TfLiteTensor* output) {
  return is_float(input) || is_float(output) ? "float activations; full-int8 is supported"
                                             : "activations that are not int8 with one scale";
}

}  // namespace nq
