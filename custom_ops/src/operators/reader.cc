#include "operators/reader.h"

#include <algorithm>

#include "operators/tensors.h"

namespace nq {
namespace {

constexpr int32_t kConv2d = 3, kDepthwiseConv2d = 4, kFullyConnected = 9;  // TFLite's builtin operators

// The parts of TFLite's builtin_data that all runtimes have alike.
struct ConvParams {
  int padding, stride_w, stride_h, activation, dilation_w, dilation_h;
};
struct DepthwiseParams {
  int padding, stride_w, stride_h, multiplier, activation, dilation_w, dilation_h;
};
struct DenseParams {
  int activation, weights_format;
  bool keep_num_dims;
};

// What ConvParams and DepthwiseParams have in common.
template <typename Params>
bool read_window(const Params& params, Reader* reader, std::string* reason) {
  if (params.padding != kPaddingSame && params.padding != kPaddingValid) {
    return refuse(reason, "padding other than SAME and VALID");
  }
  const auto [least, greatest] = std::minmax({params.stride_h, params.stride_w, params.dilation_h, params.dilation_w});
  if (least < 1 || greatest > kMaxWindowStep) return refuse(reason, "a stride or dilation outside 1 to 16384");
  Window& window = reader->window;
  window.stride_h = params.stride_h;
  window.stride_w = params.stride_w;
  window.dilation_h = params.dilation_h;
  window.dilation_w = params.dilation_w;
  window.same_padding = params.padding == kPaddingSame;
  reader->activation = params.activation;
  return true;
}

bool read_dense(const DenseParams& params, Reader* reader, std::string* reason) {
  reader->activation = params.activation;
  reader->keep_num_dims = params.keep_num_dims;
  return params.weights_format == 0 || refuse(reason, "shuffled weights; the default weights format is supported");
}

bool read_params(const void* params, int32_t builtin_code, Reader* reader, std::string* reason) {
  switch (builtin_code) {
    case kConv2d:
      reader->kind = ReaderKind::kConvolution;
      return read_window(*static_cast<const ConvParams*>(params), reader, reason);
    case kDepthwiseConv2d:
      reader->kind = ReaderKind::kDepthwise;
      return read_window(*static_cast<const DepthwiseParams*>(params), reader, reason);
    case kFullyConnected:
      reader->kind = ReaderKind::kDense;
      return read_dense(*static_cast<const DenseParams*>(params), reader, reason);
    default:
      return refuse(reason, "no fused kernel for the operator that reads it");
  }
}

bool is_constant_bias(const TfLiteTensor* tensor, TfLiteType type, int channels) {
  static_assert(sizeof(float) == sizeof(int32_t), "biases have one size");
  return tensor != nullptr && tensor->type == type && is_constant(*tensor) &&
         tensor->bytes == sizeof(int32_t) * static_cast<size_t>(channels);
}

bool check_types(const TfLiteTensor* input, const TfLiteTensor* filter, const TfLiteTensor* output, Reader* reader,
                 std::string* reason) {
  reader->is_float = is_float(filter);
  if (reader->is_float)
    return (is_float(input) && is_float(output)) ||
           refuse(reason, "a float32 weight whose input or output is not float32");
  const bool int8 = is_quantized_int8(input) && is_quantized_int8(output) && filter != nullptr;
  return (int8 && filter->type == kTfLiteInt8) || refuse(reason, not_int8(input, output));
}

// Of the products that requantization multiplies by. Weights of which nothing is known are refused when they are bound.
bool has_finite_multipliers(const TfLiteTensor& input, const TfLiteTensor& filter, const TfLiteTensor& output) {
  const auto* affine = static_cast<const TfLiteAffineQuantization*>(filter.quantization.params);
  if (filter.quantization.type != kTfLiteAffineQuantization || affine == nullptr || affine->scale == nullptr)
    return true;
  const TfLiteFloatArray& scales = *affine->scale;
  return std::all_of(scales.data, scales.data + scales.size,
                     [&](float scale) { return std::isfinite(input.params.scale * scale / output.params.scale); });
}

int channels_of(const Reader& reader, const TfLiteTensor& weight) {
  return weight.dims->data[reader.kind == ReaderKind::kDepthwise ? 3 : 0];
}

// Shapes that stay the same whatever the batch: the input's channels against the weight's.
bool check_shapes(const Reader& reader, const TfLiteTensor& input, const TfLiteTensor& weight, std::string* reason) {
  const TfLiteIntArray &in = *input.dims, &filter = *weight.dims;
  if (reader.kind == ReaderKind::kDense) {
    return (filter.size == 2 && in.size >= 1) || refuse(reason, "a dense weight whose rank is not 2");
  }
  if (in.size != 4 || filter.size != 4) return refuse(reason, "an input or weight whose rank is not 4");
  if (std::max(filter.data[1], filter.data[2]) > kMaxWindowStep) {
    return refuse(reason, "a filter with a side over 16384");
  }
  if (reader.kind == ReaderKind::kConvolution) {
    return filter.data[3] == in.data[3] || refuse(reason, "several groups; one is supported");
  }
  if (filter.data[0] != 1) return refuse(reason, "a depthwise weight whose first dimension is not 1");
  return filter.data[3] == in.data[3] || refuse(reason, "a depth multiplier over 1; 1 is supported");
}

}  // namespace

bool parse_reader(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                  int weight, int bias, Reader* reader, std::string* reason) {
  if (node.delegate != nullptr) return refuse(reason, "claimed by another delegate");
  if (node.builtin_data == nullptr || node.inputs->size < 2 || node.outputs->size != 1 ||
      node.inputs->data[1] != weight) {
    return refuse(reason, "not a layer's form: input, weight and maybe a bias, to one output");
  }
  if (!read_params(node.builtin_data, registration.builtin_code, reader, reason)) return false;
  if (reader->activation < kActivationNone || reader->activation > kActivationRelu6) {
    return refuse(reason, "a fused activation other than RELU, RELU_N1_TO_1 and RELU6");
  }
  reader->input = node.inputs->data[0];
  reader->weight = weight;
  reader->bias = node.inputs->size > 2 ? node.inputs->data[2] : -1;
  reader->output = node.outputs->data[0];
  const TfLiteTensor *input = tensor_at(context, reader->input), *output = tensor_at(context, reader->output);
  const TfLiteTensor* filter = tensor_at(context, weight);
  if (!check_types(input, filter, output, reader, reason)) return false;
  if (!check_shapes(*reader, *input, *filter, reason)) return false;
  if (!reader->is_float && !has_finite_multipliers(*input, *filter, *output)) {
    return refuse(reason, "scales too far apart");
  }
  if (bias >= 0 && reader->bias != bias) return refuse(reason, "a bias other than the nested operator's");
  const TfLiteTensor* bias_tensor = tensor_at(context, reader->bias);
  const TfLiteType bias_type = reader->is_float ? kTfLiteFloat32 : kTfLiteInt32;
  if (reader->bias >= 0 && reader->bias != bias &&
      !is_constant_bias(bias_tensor, bias_type, channels_of(*reader, *filter))) {
    return refuse(reason, reader->is_float ? "a bias that is not a float32 constant, one value a channel"
                                           : "a bias that is not an int32 constant, one value a channel");
  }
  return true;
}

bool is_layer(const TfLiteRegistration& registration) {
  const int32_t code = registration.builtin_code;
  return registration.custom_name == nullptr &&
         (code == kConv2d || code == kDepthwiseConv2d || code == kFullyConnected);
}

LayerQuantization layer_quantization(const TfLiteContext& context, const Reader& reader) {
  const TfLiteTensor &input = context.tensors[reader.input], &output = context.tensors[reader.output];
  const auto& affine =
      *static_cast<const TfLiteAffineQuantization*>(context.tensors[reader.weight].quantization.params);
  LayerQuantization quantization;
  quantization.input_scale = input.params.scale;
  quantization.output_scale = output.params.scale;
  quantization.input_zero_point = input.params.zero_point;
  quantization.output_zero_point = output.params.zero_point;
  quantization.weight_scales.assign(affine.scale->data, affine.scale->data + affine.scale->size);
  const ActivationRange range = activation_range(reader.activation, output);
  quantization.low = range.low;
  quantization.high = range.high;
  return quantization;
}

FloatParameters float_parameters(const TfLiteContext& context, const Reader& reader, int scale, int bias) {
  const FloatRange range = float_activation_range(reader.activation);
  FloatParameters parameters;
  parameters.grouping = reader.kind == ReaderKind::kDense ? Grouping::kRow : Grouping::kImage;
  parameters.weight_scale = static_cast<const float*>(context.tensors[scale].data);
  parameters.bias = bias < 0 ? nullptr : static_cast<const float*>(context.tensors[bias].data);
  parameters.low = range.min;
  parameters.high = range.max;
  return parameters;
}

bool layer_geometry(const TfLiteContext& context, const Reader& reader, const Shape& in, Geometry* geometry) {
  const TfLiteIntArray& filter = *context.tensors[reader.weight].dims;
  Geometry g;
  g.window = reader.window;
  g.out_c = filter.data[reader.kind == ReaderKind::kDepthwise ? 3 : 0];
  if (reader.kind == ReaderKind::kDense) {  // every row is a pixel
    g.in_c = filter.data[1];
    // Rows that end elsewhere than dimensions do have no place in an output of as many dimensions.
    if (reader.keep_num_dims && (in.empty() || in.back() != g.in_c)) return false;
    g.in_w = g.out_w = static_cast<int32_t>(num_elements(in) / g.in_c);
    *geometry = g;
    return num_elements(in) % g.in_c == 0;
  }
  if (in.size() != 4 || in[3] != filter.data[3] || std::max(in[1], in[2]) > kMaxImageSide) return false;
  g.window.kernel_h = filter.data[1];
  g.window.kernel_w = filter.data[2];
  g.batches = in[0];
  g.in_h = in[1];
  g.in_w = in[2];
  g.in_c = in[3];
  place_window(&g);
  *geometry = g;
  return std::min(g.out_h, g.out_w) > 0;
}

}  // namespace nq
