#include "operators/weight_binding.h"

#include <cmath>

#include "kernels/groups/groups.h"

namespace nq {
namespace {

const char* name_of(const TfLiteTensor& tensor) { return tensor.name == nullptr ? "" : tensor.name; }

std::string shape_of(const TfLiteTensor& tensor) {
  std::string text = "[";
  for (int i = 0; i < tensor.dims->size; ++i) text += (i == 0 ? "" : ", ") + std::to_string(tensor.dims->data[i]);
  return text + "]";
}

bool has_shape(const TfLiteTensor& tensor, uint64_t size) {
  return tensor.dims != nullptr && tensor.dims->size == 1 && tensor.dims->data[0] >= 0 &&
         static_cast<uint64_t>(tensor.dims->data[0]) == size;
}

Status find_tensor(const TfLiteContext& context, const TfLiteIntArray& indices, int position,
                   const TfLiteTensor** tensor) {
  const int index = indices.data[position];
  if (index < 0 || static_cast<size_t>(index) >= context.tensors_size) {
    return invalid_model("operand %d is tensor %d; expected one of the graph's %zu", position, index,
                         context.tensors_size);
  }
  *tensor = &context.tensors[index];
  return {};
}

// A constant of `count` values of `value_bytes` each.
Status check_constant(const TfLiteTensor& tensor, const char* role, TfLiteType type, uint64_t count,
                      uint64_t value_bytes) {
  if (tensor.type != type || !has_shape(tensor, count) || tensor.bytes != count * value_bytes) {
    return invalid_model("%s has type %d and %zu bytes; expected type %d and shape [%llu]", role, tensor.type,
                         tensor.bytes, type, static_cast<unsigned long long>(count));
  }
  if (tensor.allocation_type != kTfLiteMmapRo || tensor.data == nullptr) {
    return invalid_model("%s is not a constant; expected its data in the file", role);
  }
  return {};
}

Status check_matrix_shape(const TfLiteTensor& tensor, const OptionBlock& block) {
  const int rank = tensor.dims->size;
  const int* dims = tensor.dims->data;
  uint64_t depth = 1;
  for (int i = 1; i < rank; ++i) {
    const bool fits = dims[i] > 0 && depth <= block.depth;
    depth = fits ? depth * static_cast<uint64_t>(dims[i]) : 0;
  }
  if (rank >= 2 && dims[0] > 0 && static_cast<uint32_t>(dims[0]) == block.channels && depth == block.depth) return {};
  return invalid_model("the weight's shape is %s; expected %u channels first and a product of the others of %u",
                       shape_of(tensor).c_str(), block.channels, block.depth);
}

Status check_depthwise_shape(const TfLiteTensor& tensor, const OptionBlock& block) {
  const int rank = tensor.dims->size;
  const int* dims = tensor.dims->data;
  uint64_t depth = 1;
  for (int i = 0; i + 1 < rank; ++i) {
    const bool fits = dims[i] > 0 && depth <= block.depth;
    depth = fits ? depth * static_cast<uint64_t>(dims[i]) : 0;
  }
  const int last = rank < 1 ? 0 : dims[rank - 1];
  if (rank >= 2 && last > 0 && static_cast<uint32_t>(last) == block.channels && depth == block.depth) return {};
  return invalid_model("the weight's shape is %s; expected %u channels last and a product of the others of %u",
                       shape_of(tensor).c_str(), block.channels, block.depth);
}

Status check_float_scales(const TfLiteTensor& tensor, const OptionBlock& block) {
  if (Status status = check_constant(tensor, "the scale", kTfLiteFloat32, block.channels, sizeof(float));
      !status.ok()) {
    return status;
  }
  for (uint32_t i = 0; i < block.channels; ++i) {
    const auto scale = load<float>(static_cast<const uint8_t*>(tensor.data) + i * sizeof(float));
    if (!std::isfinite(scale) || scale < 0) {
      return invalid_model("scale %u is %g; expected a finite number, not negative", i, scale);
    }
  }
  return {};
}

bool is_float(const OptionBlock& block) { return block.output_type == OutputType::kFloat32; }

Status check_weight(const TfLiteTensor& tensor, const OptionBlock& block) {
  const TfLiteType type = is_float(block) ? kTfLiteFloat32 : kTfLiteInt8;
  if (tensor.type != type || tensor.dims == nullptr) {
    return invalid_model("the weight has type %d; expected %d", tensor.type, type);
  }
  if (tensor.allocation_type == kTfLiteMmapRo) {
    return invalid_model("the weight is a constant; expected the operator's output");
  }
  const Status status =
      block.layout == Layout::kMatrix ? check_matrix_shape(tensor, block) : check_depthwise_shape(tensor, block);
  return status.ok() && !is_float(block) ? check_int8_scales(tensor, block) : status;
}

Status check_arity(const TfLiteNode& node, const OptionBlock& block) {
  const int num_scales = (is_float(block) ? 1 : 0) + (block.group_size != 0 ? 1 : 0);
  const int num_inputs = block.num_levels + 2 + num_scales + (block.has_bias ? 1 : 0);
  const int num_outputs = block.has_bias ? 2 : 1;
  if (node.inputs->size == num_inputs && node.outputs->size == num_outputs) return {};
  return invalid_model("the operator has %d inputs and %d outputs; expected %d and %d", node.inputs->size,
                       node.outputs->size, num_inputs, num_outputs);
}

Status bind_levels(const TfLiteContext& context, const TfLiteNode& node, NestedWeight* weight) {
  for (int k = 0; k < weight->block.num_levels; ++k) {
    const TfLiteTensor* level = nullptr;
    if (Status status = find_tensor(context, *node.inputs, k, &level); !status.ok()) return status;
    const std::string role = "level " + std::to_string(k);
    const Status status = check_constant(*level, role.c_str(), kTfLiteUInt8, level_bytes(weight->block, k), 1);
    if (!status.ok()) return status;
    weight->levels[k] = {static_cast<const uint8_t*>(level->data), level->bytes};
    if (k > 0 && level->allocation != weight->allocation) {
      return invalid_model("level %d is in another file; expected that of level 0", k);
    }
    weight->allocation = level->allocation;
  }
  const TfLiteTensor* table = nullptr;
  if (Status status = find_tensor(context, *node.inputs, weight->block.num_levels, &table); !status.ok()) return status;
  weight->table = {static_cast<const uint8_t*>(table->data), table->bytes};
  return check_constant(*table, "the section table", kTfLiteUInt8, table->bytes, 1);
}

Status bind_scale(const TfLiteContext& context, const TfLiteNode& node, int position, const OptionBlock& block,
                  TensorIndices* tensors) {
  const TfLiteTensor* scale = nullptr;
  if (Status status = find_tensor(context, *node.inputs, position, &scale); !status.ok()) return status;
  tensors->scale = node.inputs->data[position];
  return check_float_scales(*scale, block);
}

Status bind_group_scale(const TfLiteContext& context, const TfLiteNode& node, int position, const OptionBlock& block,
                        TensorIndices* tensors) {
  const TfLiteTensor* scale = nullptr;
  if (Status status = find_tensor(context, *node.inputs, position, &scale); !status.ok()) return status;
  const auto blocks = static_cast<int>(align(block.channels, kMatrixChannels) / kMatrixChannels);
  const int dims[] = {blocks, static_cast<int>(num_groups(block)), kMatrixChannels};
  const uint64_t bytes = num_group_scales(block) * sizeof(uint16_t);
  const bool fits = scale->dims != nullptr && scale->dims->size == 3 && std::equal(dims, dims + 3, scale->dims->data);
  if (scale->type != kTfLiteFloat16 || !fits || scale->bytes != bytes) {
    return invalid_model("the group scale has type %d, shape %s and %zu bytes; expected type %d, shape [%d, %d, %d]",
                         scale->type, scale->dims == nullptr ? "none" : shape_of(*scale).c_str(), scale->bytes,
                         kTfLiteFloat16, dims[0], dims[1], dims[2]);
  }
  if (scale->allocation_type != kTfLiteMmapRo || scale->data == nullptr) {
    return invalid_model("the group scale is not a constant; expected its data in the file");
  }
  tensors->group_scale = node.inputs->data[position];
  return check_group_scales({static_cast<const uint8_t*>(scale->data), scale->bytes}, block);
}

Status bind_bias(const TfLiteContext& context, const TfLiteNode& node, const OptionBlock& block,
                 TensorIndices* tensors) {
  const int position = node.inputs->size - 1;
  const TfLiteTensor *in = nullptr, *out = nullptr;
  if (Status status = find_tensor(context, *node.inputs, position, &in); !status.ok()) return status;
  if (Status status = find_tensor(context, *node.outputs, 1, &out); !status.ok()) return status;
  const TfLiteType type = is_float(block) ? kTfLiteFloat32 : kTfLiteInt32;
  if (Status status = check_constant(*in, "the bias", type, block.channels, 4); !status.ok()) return status;
  if (out->type != type || !has_shape(*out, block.channels) || out->allocation_type == kTfLiteMmapRo) {
    return invalid_model("the bias output has type %d; expected type %d, shape [%u], not constant", out->type, type,
                         block.channels);
  }
  tensors->bias_in = node.inputs->data[position];
  tensors->bias_out = node.outputs->data[1];
  return {};
}

}  // namespace

Status check_int8_scales(const TfLiteTensor& tensor, const OptionBlock& block) {
  const auto* params = static_cast<const TfLiteAffineQuantization*>(tensor.quantization.params);
  if (tensor.quantization.type != kTfLiteAffineQuantization || params == nullptr || params->scale == nullptr) {
    return invalid_model("the weight has no scales; expected 1 or %u of them", block.channels);
  }
  const int count = params->scale->size;
  if (count != 1 && (count < 0 || static_cast<uint32_t>(count) != block.channels)) {
    return invalid_model("the weight has %d scales; expected 1 or %u", count, block.channels);
  }
  const int axis = block.layout == Layout::kMatrix ? 0 : 3;
  if (count > 1 && params->quantized_dimension != axis) {
    return invalid_model("the weight is quantized along dimension %d; expected %d", params->quantized_dimension, axis);
  }
  for (int i = 0; i < count; ++i) {
    const float scale = params->scale->data[i];
    if (!std::isfinite(scale) || scale <= 0) {
      return invalid_model("scale %d of the weight is %g; expected a finite positive number", i, scale);
    }
  }
  for (int i = 0; params->zero_point != nullptr && i < params->zero_point->size; ++i) {
    const int zero_point = params->zero_point->data[i];
    if (zero_point != 0) return invalid_model("zero point %d of the weight is %d; expected 0", i, zero_point);
  }
  return {};
}

Status bind_weight(const TfLiteContext& context, const TfLiteNode& node, NestedWeight* weight, TensorIndices* tensors) {
  const TfLiteTensor* output = nullptr;
  if (node.outputs->size == 0) return invalid_model("the operator has no outputs; expected the weight");
  if (Status status = find_tensor(context, *node.outputs, 0, &output); !status.ok()) return status;
  weight->name = name_of(*output);
  tensors->weight = node.outputs->data[0];

  const int size = node.custom_initial_data == nullptr ? 0 : node.custom_initial_data_size;
  const ByteSpan options = {static_cast<const uint8_t*>(node.custom_initial_data), static_cast<size_t>(size)};
  const OptionBlock& block = weight->block;
  if (Status status = parse_option_block(options, &weight->block); !status.ok()) return status;
  if (Status status = check_arity(node, block); !status.ok()) return status;
  if (Status status = check_weight(*output, block); !status.ok()) return status;
  if (Status status = bind_levels(context, node, weight); !status.ok()) return status;
  if (is_float(block)) {
    const Status status = bind_scale(context, node, block.num_levels + 2, block, tensors);
    if (!status.ok()) return status;
  }
  if (block.group_size != 0) {
    const Status status = bind_group_scale(context, node, block.num_levels + 3, block, tensors);
    if (!status.ok()) return status;
  }
  return block.has_bias ? bind_bias(context, node, block, tensors) : Status();
}

}  // namespace nq
