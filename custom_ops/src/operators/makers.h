// The operators around nested weights that a partition takes in, so that a network need not go back to the runtime
// between its layers. Of int8, each gives the results of ai-edge-litert to the bit: XNNPACK's, or those of TFLite's own
// kernel for what XNNPACK leaves to it. Of floats, functions are near the exact ones and the same on every machine.
#pragma once

#include "operators/operator.h"
#include "operators/tensors.h"

namespace nq {

// Null, with the reason, for an operator that stays with the runtime.
using Maker = std::unique_ptr<Operator>(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason);

// A step for each output.
using PartsMaker = Steps(const TfLiteContext& context, const TfLiteNode& node, std::string* reason);

// Elementwise, with two operands, either of which may be constant or broadcast; int8 or float32.
Maker make_addition, make_subtraction, make_multiplication;
Maker make_squared_difference, make_matrix_product;
Maker make_division, make_maximum, make_minimum;  // of floats alone

// Elementwise: int8 by table, and float32.
Maker make_logistic, make_tanh, make_elu, make_leaky_relu, make_relu, make_relu_n1_to_1, make_relu6, make_hard_swish;
Maker make_gelu, make_inverse_root;
// Of floats alone. The converter leaves NEG, SQUARE and POW in float in a full-int8 graph.
Maker make_negation, make_square, make_root, make_power;
Maker make_softmax;

// float32 or int8 to int8, and int8 to float32.
Maker make_quantization, make_dequantization;

Maker make_max_pooling, make_average_pooling, make_mean;
Maker make_greatest;  // along axes
Maker make_sum;       // the same, of floats alone
Maker make_padding, make_concatenation, make_transposition, make_slice, make_strided_slice;
PartsMaker make_split, make_split_by_sizes;
Maker make_nearest_resize, make_linear_resize;

// Shapes, and the arithmetic on them that Keras leaves in its graphs.
Maker make_reshape, make_squeeze, make_expand_dims, make_shape_query, make_shape_element, make_shape_pack;

inline std::unique_ptr<Operator> stays(std::string* reason, const char* why) {
  *reason = why;
  return nullptr;
}

// int8 from the first input to the only output, both quantized per tensor and not constant.
bool has_int8_ends(const TfLiteContext& context, const TfLiteNode& node, int num_inputs, std::string* reason);

// float32 from the first input to the only output, not constant.
bool has_float_ends(const TfLiteContext& context, const TfLiteNode& node, int num_inputs);

// Of either kind, and int8 keeps its scale.
bool has_ends_alike(const TfLiteContext& context, const TfLiteNode& node, int num_inputs, std::string* reason);

inline size_t element_bytes_of(const TfLiteTensor& tensor) {
  return is_float(&tensor) ? sizeof(float) : sizeof(int8_t);
}

// A constant vector of int32; null if the tensor is none, or has another size.
const int32_t* constant_int32(const TfLiteContext& context, int index, int count);

// Null without one, as when a file is damaged.
template <typename Params>
const Params* params_of(const TfLiteNode& node) {
  return static_cast<const Params*>(node.builtin_data);
}

}  // namespace nq
