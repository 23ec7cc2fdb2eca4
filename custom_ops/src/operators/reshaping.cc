// RESHAPE, SQUEEZE and EXPAND_DIMS, and the arithmetic on shapes that Keras leaves in front of a RESHAPE: the batch's
// size, taken from a SHAPE by a STRIDED_SLICE and put among constants by a PACK.
#include <functional>
#include <limits>

#include "operators/makers.h"

namespace nq {
namespace {

constexpr int kMaxRank = 8;

struct SqueezeParams {
  int squeeze_dims[kMaxRank];
  int num_squeeze_dims;
};
struct StridedSliceParams {
  int begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask;
};
struct PackParams {
  int values_count, axis;
};

// The output's shape for an input's; false if there is none.
using NewShape = std::function<bool(const Shape& in, Shape* out)>;

class ReshapeOperator : public Operator {
 public:
  ReshapeOperator(int input, int output, size_t element_bytes, NewShape new_shape)
      : Operator({input}, output, element_bytes), new_shape_(std::move(new_shape)) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    elements_ = num_elements(in);
    if (new_shape_(in, output) && num_elements(*output) == elements_) return {};
    return error(NQ_INVALID_MODEL, "a tensor of %lld elements cannot take the shape that the model gives it",
                 static_cast<long long>(elements_));
  }

  bool may_replace(int) const override { return true; }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    if (in == out) return;
    share(threads, elements_ * static_cast<int64_t>(element_bytes()), 1, [&](Range range) {
      std::memcpy(out + range.begin, in + range.begin, static_cast<size_t>(range.end - range.begin));
    });
  }

 private:
  using Operator::output;
  NewShape new_shape_;
  int64_t elements_ = 0;
};

class ShapeOperator : public Operator {
 public:
  ShapeOperator(int input, int output) : Operator({input}, output, sizeof(int32_t)) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    shape_ = shapes.at(inputs()[0]);
    *output = {static_cast<int32_t>(shape_.size())};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool*) override {
    std::copy(shape_.begin(), shape_.end(), output<int32_t>(tensors));
  }

 private:
  using Operator::output;
  Shape shape_;
};

class ElementOperator : public Operator {
 public:
  ElementOperator(int input, int output, int32_t element)
      : Operator({input}, output, sizeof(int32_t)), element_(element) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    if (in.size() != 1 || element_ >= in[0]) return error(NQ_INVALID_MODEL, "a vector has no element %d", element_);
    output->clear();
    return {};
  }

  void run(const Pointers& tensors, ThreadPool*) override {
    *output<int32_t>(tensors) = input<int32_t>(tensors, 0)[element_];
  }

 private:
  using Operator::output;
  int32_t element_;
};

class PackOperator : public Operator {
 public:
  // A value for each of the node's operands: an input's position, or a constant.
  struct Value {
    bool is_input;
    int32_t position_or_constant;
  };

  PackOperator(std::vector<int> inputs, int output, std::vector<Value> values)
      : Operator(std::move(inputs), output, sizeof(int32_t)), values_(std::move(values)) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    for (const int index : inputs()) {
      if (!shapes.at(index).empty()) return error(NQ_INVALID_MODEL, "a shape is packed of more than scalars");
    }
    *output = {static_cast<int32_t>(values_.size())};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool*) override {
    int32_t* out = output<int32_t>(tensors);
    for (const Value& value : values_) {
      *out++ = value.is_input ? *input<int32_t>(tensors, static_cast<size_t>(value.position_or_constant))
                              : value.position_or_constant;
    }
  }

 private:
  using Operator::output;
  std::vector<Value> values_;
};

bool is_int32(const TfLiteTensor* tensor) {
  return tensor != nullptr && tensor->type == kTfLiteInt32 && is_dense(*tensor);
}

// What the model says of an output whose batch alone is open: every computed shape can only be this one.
bool read_signature(const TfLiteTensor& tensor, Shape* shape) {
  const TfLiteIntArray* signature = tensor.dims_signature;
  if (signature == nullptr || signature->size < 1) return false;
  shape->assign(signature->data, signature->data + signature->size);
  return std::count(shape->begin(), shape->end(), -1) == 1;
}

// At most one size is -1, for what the others leave, and the product of the others is no larger than a tensor's.
bool is_sane(const Shape& shape) {
  int64_t product = 1;
  for (const int32_t size : shape) {
    if (size == 0 || size < -1 || product > std::numeric_limits<int32_t>::max()) return false;
    product *= std::abs(size);
  }
  return shape.size() <= kMaxRank && std::count(shape.begin(), shape.end(), -1) <= 1;
}

// A RESHAPE's new shape, -1 for what is open.
bool read_new_shape(const TfLiteContext& context, const TfLiteNode& node, Shape* shape) {
  const TfLiteTensor* given = node.inputs->size > 1 ? tensor_at(context, node.inputs->data[1]) : nullptr;
  if (is_int32(given) && is_constant(*given) && given->dims->size == 1) {
    const auto* sizes = static_cast<const int32_t*>(given->data);
    shape->assign(sizes, sizes + given->bytes / sizeof(int32_t));
    return is_sane(*shape);
  }
  return read_signature(context.tensors[node.outputs->data[0]], shape) && is_sane(*shape);
}

NewShape to_sizes(const Shape& sizes) {
  return [sizes](const Shape& in, Shape* out) {
    int64_t known = 1;
    for (const int32_t size : sizes) known *= size < 0 ? 1 : size;
    *out = sizes;
    std::replace(out->begin(), out->end(), -1, static_cast<int32_t>(num_elements(in) / known));
    return true;
  };
}

// Without the axes of size 1; of those given, if any are.
NewShape squeezed(const std::vector<int>& axes) {
  return [axes](const Shape& in, Shape* out) {
    const auto rank = static_cast<int>(in.size());
    out->clear();
    for (int axis = 0; axis < rank; ++axis) {
      const bool given = std::count(axes.begin(), axes.end(), axis) + std::count(axes.begin(), axes.end(), axis - rank);
      const int32_t size = in[static_cast<size_t>(axis)];
      if (given && size != 1) return false;
      if (!given && (size != 1 || !axes.empty())) out->push_back(size);
    }
    return true;
  };
}

NewShape expanded(int32_t axis) {
  return [axis](const Shape& in, Shape* out) {
    const auto rank = static_cast<int32_t>(in.size());
    const int32_t place = axis < 0 ? axis + rank + 1 : axis;
    if (place < 0 || place > rank) return false;
    *out = in;
    out->insert(out->begin() + place, 1);
    return true;
  };
}

// Whether the last two axes stay, whatever the others do.
bool keeps_matrices(const TfLiteTensor& in, const TfLiteTensor& out) {
  const TfLiteIntArray &from = *in.dims, &to = *out.dims;
  return from.size > 2 && to.size > 2 && from.data[from.size - 1] == to.data[to.size - 1] &&
         from.data[from.size - 2] == to.data[to.size - 2];
}

std::unique_ptr<Operator> make_view(const TfLiteContext& context, const TfLiteNode& node, NewShape new_shape) {
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  const TfLiteTensor& in = context.tensors[input];
  auto step = std::make_unique<ReshapeOperator>(input, output, element_bytes_of(in), std::move(new_shape));
  if (is_float(&in) && keeps_matrices(in, context.tensors[output])) {
    step->set_role({Role::kReshapeOfMatrices});
  }
  return step;
}

}  // namespace

std::unique_ptr<Operator> make_reshape(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                       std::string* reason) {
  if (!has_ends_alike(context, node, 1, reason)) return nullptr;
  Shape sizes;
  if (!read_new_shape(context, node, &sizes))
    return stays(reason, "a computed shape that leaves more open than one size");
  return make_view(context, node, to_sizes(sizes));
}

std::unique_ptr<Operator> make_squeeze(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                       std::string* reason) {
  if (!has_ends_alike(context, node, 1, reason)) return nullptr;
  const auto* params = params_of<SqueezeParams>(node);
  if (params == nullptr || params->num_squeeze_dims < 0 || params->num_squeeze_dims > kMaxRank) {
    return stays(reason, "axes");
  }
  return make_view(context, node, squeezed({params->squeeze_dims, params->squeeze_dims + params->num_squeeze_dims}));
}

std::unique_ptr<Operator> make_expand_dims(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                           std::string* reason) {
  if (!has_ends_alike(context, node, 2, reason)) return nullptr;
  const int32_t* axis = constant_int32(context, node.inputs->data[1], 1);
  return axis == nullptr ? stays(reason, "an axis that is computed") : make_view(context, node, expanded(*axis));
}

std::unique_ptr<Operator> make_shape_query(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                           std::string* reason) {
  if (node.inputs->size != 1 || node.outputs->size != 1) return stays(reason, "another number of operands");
  const TfLiteTensor* in = tensor_at(context, node.inputs->data[0]);
  if (in == nullptr || in->dims == nullptr || is_constant(*in)) return stays(reason, "a constant's shape");
  if (!is_int32(tensor_at(context, node.outputs->data[0]))) return stays(reason, "not int32");
  return std::make_unique<ShapeOperator>(node.inputs->data[0], node.outputs->data[0]);
}

std::unique_ptr<Operator> make_shape_element(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                             std::string* reason) {
  if (node.inputs->size != 4 || node.outputs->size != 1) return stays(reason, "another number of operands");
  const TfLiteTensor* in = tensor_at(context, node.inputs->data[0]);
  if (!is_int32(in) || in->dims->size != 1 || is_constant(*in) ||
      !is_int32(tensor_at(context, node.outputs->data[0]))) {
    return stays(reason, "a slice; one element of a shape is supported");
  }
  const int32_t* begin = constant_int32(context, node.inputs->data[1], 1);
  const int32_t* strides = constant_int32(context, node.inputs->data[3], 1);
  const auto* params = params_of<StridedSliceParams>(node);
  const bool one_element = params != nullptr && begin != nullptr && strides != nullptr && *begin >= 0 &&
                           *strides == 1 && params->shrink_axis_mask == 1 && params->begin_mask == 0 &&
                           params->ellipsis_mask == 0 && params->new_axis_mask == 0;
  if (!one_element) return stays(reason, "a slice; one element of a shape is supported");
  return std::make_unique<ElementOperator>(node.inputs->data[0], node.outputs->data[0], *begin);
}

std::unique_ptr<Operator> make_shape_pack(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                          std::string* reason) {
  const auto* params = params_of<PackParams>(node);
  if (node.outputs->size != 1 || params == nullptr || params->axis != 0) return stays(reason, "axis");
  if (!is_int32(tensor_at(context, node.outputs->data[0]))) return stays(reason, "not int32");
  std::vector<int> inputs;
  std::vector<PackOperator::Value> values;
  for (int i = 0; i < node.inputs->size; ++i) {
    const int index = node.inputs->data[i];
    const TfLiteTensor* in = tensor_at(context, index);
    if (!is_int32(in) || in->dims->size != 0) return stays(reason, "not scalars of int32");
    const int32_t* constant = constant_int32(context, index, 1);
    if (constant == nullptr && is_constant(*in)) return stays(reason, "a damaged constant");
    values.push_back({constant == nullptr, constant == nullptr ? static_cast<int32_t>(inputs.size()) : *constant});
    if (constant == nullptr) inputs.push_back(index);
  }
  if (inputs.empty()) return stays(reason, "constants alone");
  return std::make_unique<PackOperator>(std::move(inputs), node.outputs->data[0], std::move(values));
}

}  // namespace nq
