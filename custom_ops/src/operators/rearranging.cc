// TRANSPOSE, SLICE, STRIDED_SLICE, and SPLIT as a slice for each part.
#include <limits>
#include <numeric>

#include "layers/strided_copy.h"
#include "operators/makers.h"

namespace nq {
namespace {

constexpr size_t kMaxRank = 8;

struct StridedSliceParams {
  int begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask;
};

// The elements of an input that it takes, and the shape that it gives them.
class Rearrangement {
 public:
  virtual ~Rearrangement() = default;
  // False where the input's shape does not fit.
  virtual bool apply(const Shape& in, Shape* out, std::vector<StridedCopy::Axis>* axes, int64_t* offset) const = 0;
};

class Transposition : public Rearrangement {
 public:
  explicit Transposition(std::vector<int32_t> order) : order_(std::move(order)) {}

  bool apply(const Shape& in, Shape* out, std::vector<StridedCopy::Axis>* axes, int64_t* offset) const override {
    if (in.size() != order_.size()) return false;
    const std::vector<int64_t> strides = strides_of(in);
    for (const int32_t from : order_) {
      const auto axis = static_cast<size_t>(from);
      out->push_back(in[axis]);
      axes->push_back({in[axis], strides[axis]});
    }
    *offset = 0;
    return true;
  }

 private:
  std::vector<int32_t> order_;
};

// Along one axis. `begin` and `end` may count from behind.
struct Cut {
  int32_t begin = 0, end = std::numeric_limits<int32_t>::max(), step = 1;
  bool drops_axis = false;  // one element, whose axis goes
};

class Slicing : public Rearrangement {
 public:
  explicit Slicing(std::vector<Cut> cuts) : cuts_(std::move(cuts)) {}

  bool apply(const Shape& in, Shape* out, std::vector<StridedCopy::Axis>* axes, int64_t* offset) const override {
    if (in.size() < cuts_.size()) return false;
    const std::vector<int64_t> strides = strides_of(in);
    *offset = 0;
    for (size_t axis = 0; axis < in.size(); ++axis) {
      const Cut cut = axis < cuts_.size() ? cuts_[axis] : Cut{};
      const auto within = [&](int64_t place) {
        return std::min<int64_t>(std::max<int64_t>(place < 0 ? place + in[axis] : place, 0), in[axis]);
      };
      const int64_t begin = within(cut.begin), end = cut.drops_axis ? begin + 1 : within(cut.end);
      if (end > in[axis]) return false;
      const int64_t size = std::max<int64_t>(0, (end - begin + cut.step - 1) / cut.step);
      *offset += begin * strides[axis];
      if (cut.drops_axis) continue;
      out->push_back(static_cast<int32_t>(size));
      axes->push_back({size, strides[axis] * cut.step});
    }
    return true;
  }

 private:
  std::vector<Cut> cuts_;
};

// Of the parts that an axis is split into. `sizes` are theirs, of which one may be -1, for what the others leave; with
// none, they are alike.
class Part : public Rearrangement {
 public:
  Part(size_t axis, size_t number, size_t count, std::vector<int32_t> sizes)
      : axis_(axis), number_(number), count_(count), sizes_(std::move(sizes)) {}

  bool apply(const Shape& in, Shape* out, std::vector<StridedCopy::Axis>* axes, int64_t* offset) const override {
    if (in.size() <= axis_) return false;
    std::vector<int64_t> sizes(sizes_.begin(), sizes_.end());
    if (sizes.empty()) sizes.assign(count_, in[axis_] / static_cast<int64_t>(count_));
    const int64_t given = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
    std::replace(sizes.begin(), sizes.end(), int64_t{-1}, in[axis_] - given - 1);
    if (*std::min_element(sizes.begin(), sizes.end()) < 0) return false;
    if (std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) != in[axis_]) return false;
    const std::vector<int64_t> strides = strides_of(in);
    const auto own = sizes.begin() + static_cast<std::ptrdiff_t>(number_);
    *offset = std::accumulate(sizes.begin(), own, int64_t{0}) * strides[axis_];
    *out = in;
    (*out)[axis_] = static_cast<int32_t>(*own);
    for (size_t axis = 0; axis < in.size(); ++axis) axes->push_back({(*out)[axis], strides[axis]});
    return true;
  }

 private:
  size_t axis_, number_, count_;
  std::vector<int32_t> sizes_;
};

template <typename Element>
class RearrangeOperator : public Operator {
 public:
  RearrangeOperator(int input, int output, std::unique_ptr<Rearrangement> rearrangement)
      : Operator({input}, output, sizeof(Element)), rearrangement_(std::move(rearrangement)) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    output->clear();
    std::vector<StridedCopy::Axis> axes;
    int64_t offset = 0;
    if (!rearrangement_->apply(shapes.at(inputs()[0]), output, &axes, &offset)) {
      return error(NQ_INVALID_MODEL, "a tensor is rearranged by axes, or places, that it does not have");
    }
    copy_.set(std::move(axes), offset);
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element* in = input<Element>(tensors, 0);
    Element* out = output<Element>(tensors);
    if (copy_.row_elements() == 0) return;
    share(threads, copy_.rows(), copy_.row_elements(), [&](Range rows) { copy_.copy_rows(in, rows, out); });
  }

 private:
  using Operator::output;
  std::unique_ptr<Rearrangement> rearrangement_;
  StridedCopy copy_;
};

std::unique_ptr<Operator> make_rearrangement(const TfLiteContext& context, int input, int output,
                                             std::unique_ptr<Rearrangement> rearrangement) {
  if (is_float(&context.tensors[input])) {
    return std::make_unique<RearrangeOperator<float>>(input, output, std::move(rearrangement));
  }
  return std::make_unique<RearrangeOperator<int8_t>>(input, output, std::move(rearrangement));
}

std::unique_ptr<Operator> make_rearrangement(const TfLiteContext& context, const TfLiteNode& node,
                                             std::unique_ptr<Rearrangement> rearrangement) {
  return make_rearrangement(context, node.inputs->data[0], node.outputs->data[0], std::move(rearrangement));
}

Steps stay(std::string* reason, const char* why) {
  *reason = why;
  return {};
}

// `sizes`: of the parts; none where they are alike.
Steps make_parts(const TfLiteContext& context, const TfLiteNode& node, int input, int axis_tensor,
                 const std::vector<int32_t>& sizes, std::string* reason) {
  const TfLiteTensor* in = tensor_at(context, input);
  if (!is_float(in) && !is_quantized_int8(in)) return stay(reason, not_int8(in, in));
  if (is_constant(*in)) return stay(reason, "a constant input; computed ones are supported");
  const int rank = in->dims->size;
  const int32_t* given = constant_int32(context, axis_tensor, 1);
  const int32_t axis = given == nullptr ? -1 : *given < 0 ? *given + rank : *given;
  if (axis < 0 || axis >= rank || static_cast<size_t>(rank) > kMaxRank) {
    return stay(reason, "an axis that is computed or none, or a rank above 8");
  }
  const auto count = static_cast<size_t>(std::max(node.outputs->size, 0));
  Steps steps;
  for (size_t i = 0; i < count; ++i) {
    const int output = node.outputs->data[i];
    const TfLiteTensor* out = tensor_at(context, output);
    if (is_float(in) ? !is_float(out) : !is_quantized_int8(out)) return stay(reason, not_int8(out, out));
    if (!is_float(in) && !same_quantization(*in, *out)) return stay(reason, "scales");
    steps.push_back(
        make_rearrangement(context, input, output, std::make_unique<Part>(static_cast<size_t>(axis), i, count, sizes)));
  }
  return steps;
}

// One value for each axis of the first input, which is null where they are computed.
const int32_t* values_of_axes(const TfLiteContext& context, const TfLiteNode& node, int slot) {
  const int rank = context.tensors[node.inputs->data[0]].dims->size;
  return static_cast<size_t>(rank) <= kMaxRank ? constant_int32(context, node.inputs->data[slot], rank) : nullptr;
}

}  // namespace

std::unique_ptr<Operator> make_transposition(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                             std::string* reason) {
  if (!has_ends_alike(context, node, 2, reason)) return nullptr;
  const int32_t* given = values_of_axes(context, node, 1);
  if (given == nullptr) return stays(reason, "an order of axes that is computed, or a rank above 8");
  const auto rank = static_cast<int32_t>(context.tensors[node.inputs->data[0]].dims->size);
  std::vector<int32_t> order(given, given + rank);
  for (int32_t& axis : order) axis = axis < 0 ? axis + rank : axis;
  std::vector<int32_t> sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (int32_t axis = 0; axis < rank; ++axis) {
    if (sorted[static_cast<size_t>(axis)] != axis) return stays(reason, "axes that are not a permutation");
  }
  Role role = {Role::kTransposition};
  role.order = order;
  std::unique_ptr<Operator> step = make_rearrangement(context, node, std::make_unique<Transposition>(std::move(order)));
  step->set_role(std::move(role));
  return step;
}

std::unique_ptr<Operator> make_slice(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                     std::string* reason) {
  if (!has_ends_alike(context, node, 3, reason)) return nullptr;
  const int32_t *begin = values_of_axes(context, node, 1), *size = values_of_axes(context, node, 2);
  if (begin == nullptr || size == nullptr) return stays(reason, "bounds that are computed, or a rank above 8");
  std::vector<Cut> cuts;
  for (int axis = 0; axis < context.tensors[node.inputs->data[0]].dims->size; ++axis) {
    Cut cut;
    cut.begin = begin[axis];
    if (begin[axis] < 0 || size[axis] < -1 || size[axis] > cut.end - begin[axis]) return stays(reason, "bounds");
    if (size[axis] >= 0) cut.end = begin[axis] + size[axis];
    cuts.push_back(cut);
  }
  return make_rearrangement(context, node, std::make_unique<Slicing>(std::move(cuts)));
}

std::unique_ptr<Operator> make_strided_slice(const TfLiteContext& context, const TfLiteNode& node,
                                             const Kernels& kernels, std::string* reason) {
  const TfLiteTensor* in = node.inputs->size > 0 ? tensor_at(context, node.inputs->data[0]) : nullptr;
  if (in != nullptr && in->type == kTfLiteInt32) return make_shape_element(context, node, kernels, reason);
  if (!has_ends_alike(context, node, 4, reason)) return nullptr;
  const auto* params = params_of<StridedSliceParams>(node);
  const int32_t *begin = values_of_axes(context, node, 1), *end = values_of_axes(context, node, 2);
  const int32_t* step = values_of_axes(context, node, 3);
  if (params == nullptr || params->ellipsis_mask != 0 || params->new_axis_mask != 0) {
    return stays(reason, "an ellipsis or a new axis");
  }
  if (begin == nullptr || end == nullptr || step == nullptr) {
    return stays(reason, "bounds that are computed, or a rank above 8");
  }
  std::vector<Cut> cuts;
  for (int axis = 0; axis < in->dims->size; ++axis) {
    const auto masked = [axis](int mask) { return (mask >> axis & 1) != 0; };
    Cut cut;
    if (step[axis] < 1) return stays(reason, "a step backwards");
    cut.step = step[axis];
    if (!masked(params->begin_mask)) cut.begin = begin[axis];
    if (!masked(params->end_mask)) cut.end = end[axis];
    cut.drops_axis = masked(params->shrink_axis_mask);
    cuts.push_back(cut);
  }
  return make_rearrangement(context, node, std::make_unique<Slicing>(std::move(cuts)));
}

Steps make_split(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  if (node.inputs->size != 2) return stay(reason, "another number of operands");
  return make_parts(context, node, node.inputs->data[1], node.inputs->data[0], {}, reason);
}

Steps make_split_by_sizes(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  if (node.inputs->size != 3) return stay(reason, "another number of operands");
  const int32_t* given = constant_int32(context, node.inputs->data[1], node.outputs->size);
  if (given == nullptr) return stay(reason, "sizes that are computed");
  const std::vector<int32_t> sizes(given, given + node.outputs->size);
  if (std::count(sizes.begin(), sizes.end(), -1) > 1) return stay(reason, "several sizes that are not given");
  return make_parts(context, node, node.inputs->data[0], node.inputs->data[2], sizes, reason);
}

}  // namespace nq
