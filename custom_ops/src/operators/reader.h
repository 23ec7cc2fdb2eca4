// The operator that reads a nested weight, as far as a fused node needs to know it.
#pragma once

#include <string>

#include "layers/dynamic_layer.h"
#include "layers/geometry.h"
#include "layers/quantized_layer.h"
#include "operators/operator.h"
#include "tflite_abi.h"

namespace nq {

enum class ReaderKind { kConvolution, kDepthwise, kDense };

struct Reader {
  ReaderKind kind = ReaderKind::kConvolution;
  Window window;       // stride, dilation and padding; the kernel's size is the weight's
  int activation = 0;  // TFLite's fused activation
  bool keep_num_dims = false;
  bool is_float = false;  // input, weight, bias and output; all of them quantized otherwise
  int input = -1, weight = -1, bias = -1, output = -1;  // tensor indices; bias may be -1
};

// Reads the operator; false with the reason where a fused node cannot take its place. `weight` and `bias` are the
// nested operator's outputs, -1 without a bias.
bool parse_reader(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                  int weight, int bias, Reader* reader, std::string* reason);

// A convolution or a dense layer, supported or not.
bool is_layer(const TfLiteRegistration& registration);

// Scales, zero points and the range of the fused activation.
LayerQuantization layer_quantization(const TfLiteContext& context, const Reader& reader);

// The same of a reader of floats; the scales and the bias are constants' indices, and bias may be -1.
FloatParameters float_parameters(const TfLiteContext& context, const Reader& reader, int scale, int bias);

// For an input of shape `in`; false if that has other channels than the weight, or no room for the window.
bool layer_geometry(const TfLiteContext& context, const Reader& reader, const Shape& in, Geometry* geometry);

}  // namespace nq
