#include <algorithm>
#include <iterator>

#include "operators/layer_operator.h"
#include "operators/makers.h"
#include "operators/operator.h"

namespace nq {
namespace {

template <typename Make>
struct Entry {
  int32_t builtin_code;  // TFLite's
  Make* make;
};

constexpr Entry<PartsMaker> kPartsMakers[] = {{49, make_split}, {102, make_split_by_sizes}};

constexpr Entry<Maker> kMakers[] = {
    {0, make_addition},
    {1, make_average_pooling},
    {2, make_concatenation},
    {6, make_dequantization},
    {14, make_logistic},
    {17, make_max_pooling},
    {18, make_multiplication},
    {19, make_relu},
    {20, make_relu_n1_to_1},
    {21, make_relu6},
    {22, make_reshape},
    {23, make_linear_resize},
    {25, make_softmax},
    {28, make_tanh},
    {34, make_padding},
    {39, make_transposition},
    {40, make_mean},
    {41, make_subtraction},
    {42, make_division},
    {43, make_squeeze},
    {45, make_strided_slice},
    {55, make_maximum},
    {57, make_minimum},
    {59, make_negation},
    {65, make_slice},
    {70, make_expand_dims},
    {74, make_sum},
    {75, make_root},
    {76, make_inverse_root},
    {77, make_shape_query},
    {78, make_power},
    {82, make_greatest},
    {83, make_shape_pack},
    {92, make_square},
    {97, make_nearest_resize},
    {98, make_leaky_relu},
    {99, make_squared_difference},
    {111, make_elu},
    {114, make_quantization},
    {117, make_hard_swish},
    {126, make_matrix_product},
    {150, make_gelu},
};

template <typename Entries>
auto maker_in(const Entries& entries, int32_t builtin_code) {
  const auto found = std::find_if(std::begin(entries), std::end(entries),
                                  [&](const auto& entry) { return entry.builtin_code == builtin_code; });
  return found == std::end(entries) ? nullptr : found->make;
}

bool is_free(const TfLiteNode& node, const TfLiteRegistration& registration, std::string* reason) {
  if (node.delegate != nullptr) return refuse(reason, "claimed by another delegate");
  return registration.custom_name == nullptr || refuse(reason, "a custom operator");
}

}  // namespace

bool has_int8_ends(const TfLiteContext& context, const TfLiteNode& node, int num_inputs, std::string* reason) {
  if (node.inputs->size < num_inputs || node.outputs->size != 1) return refuse(reason, "another number of operands");
  const TfLiteTensor *in = tensor_at(context, node.inputs->data[0]), *out = tensor_at(context, node.outputs->data[0]);
  if (!is_quantized_int8(in) || !is_quantized_int8(out)) return refuse(reason, not_int8(in, out));
  return !is_constant(*in) || refuse(reason, "a constant input; computed ones are supported");
}

bool has_float_ends(const TfLiteContext& context, const TfLiteNode& node, int num_inputs) {
  if (node.inputs->size < num_inputs || node.outputs->size != 1) return false;
  const TfLiteTensor *in = tensor_at(context, node.inputs->data[0]), *out = tensor_at(context, node.outputs->data[0]);
  return is_float(in) && is_float(out) && !is_constant(*in);
}

bool has_ends_alike(const TfLiteContext& context, const TfLiteNode& node, int num_inputs, std::string* reason) {
  if (has_float_ends(context, node, num_inputs)) return true;
  if (!has_int8_ends(context, node, num_inputs, reason)) return false;
  return same_quantization(context.tensors[node.inputs->data[0]], context.tensors[node.outputs->data[0]]) ||
         refuse(reason, "scales");
}

const int32_t* constant_int32(const TfLiteContext& context, int index, int count) {
  const TfLiteTensor* tensor = tensor_at(context, index);
  if (tensor == nullptr || tensor->type != kTfLiteInt32 || !is_constant(*tensor) ||
      tensor->bytes != static_cast<size_t>(count) * sizeof(int32_t)) {
    return nullptr;
  }
  return static_cast<const int32_t*>(tensor->data);
}

Steps make_neighbour(const TfLiteContext& context, const NodeEnvironment& environment, const TfLiteNode& node,
                     const TfLiteRegistration& registration, std::string* reason) {
  Steps steps;
  if (!is_free(node, registration, reason)) return steps;
  const int32_t code = registration.builtin_code;
  if (PartsMaker* make = maker_in(kPartsMakers, code)) return make(context, node, reason);
  Maker* make = maker_in(kMakers, code);
  std::unique_ptr<Operator> step = make != nullptr ? make(context, node, environment.kernels, reason)
                                                   : make_plain_layer(context, environment, node, registration, reason);
  if (step != nullptr) steps.push_back(std::move(step));
  return steps;
}

bool is_neighbour(const TfLiteContext& context, const Kernels& kernels, const TfLiteNode& node,
                  const TfLiteRegistration& registration, std::string* reason) {
  if (!is_free(node, registration, reason)) return false;
  const int32_t code = registration.builtin_code;
  if (PartsMaker* make = maker_in(kPartsMakers, code)) return !make(context, node, reason).empty();
  Maker* make = maker_in(kMakers, code);
  return make != nullptr ? make(context, node, kernels, reason) != nullptr
                         : is_plain_layer(context, node, registration, reason);
}

}  // namespace nq
