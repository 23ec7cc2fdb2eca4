// Operators with two operands, either of which may be constant or broadcast.
#include "layers/addition.h"
#include "layers/broadcast.h"
#include "layers/float_arithmetic.h"
#include "layers/multiplication.h"
#include "layers/reference_arithmetic.h"
#include "operators/makers.h"
#include "operators/map_operator.h"
#include "operators/row_operator.h"

namespace nq {
namespace {

constexpr int kMaxRank = 6;  // XNNPACK's

constexpr int64_t kLongRun = 1024;  // elements that take much longer than the call for them

// What the three operators' builtin_data begin with.
struct BinaryParams {
  int activation;
};

// Either computed by another operator, at `position` among the inputs, or a constant.
struct Operand {
  size_t position = 0;
  const void* constant = nullptr;
  Shape shape;  // a constant's
};

template <typename Arithmetic>
class BinaryOperator : public Operator, private RowOperator {
  using Element = typename Arithmetic::Element;

 public:
  BinaryOperator(std::vector<int> inputs, int output, Operand a, Operand b, const Arithmetic& arithmetic)
      : Operator(std::move(inputs), output, sizeof(Element)),
        a_(std::move(a)),
        b_(std::move(b)),
        arithmetic_(arithmetic) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape a = shape_of(a_, shapes), b = shape_of(b_, shapes);
    are_alike_ = a == b && inputs().size() == 2;
    if (broadcast_.set(a, b, output)) {
      same_shape_.clear();
      for (const Operand* operand : {&a_, &b_}) {
        const bool is_whole = operand->constant == nullptr && shape_of(*operand, shapes) == *output;
        if (is_whole) same_shape_.push_back(inputs()[operand->position]);
      }
      are_images_ = are_alike_ && a.size() == 4 && std::max(a[1], a[2]) <= kMaxImageSide;
      if (are_images_) geometry_ = geometry_of(a);
      lengthen_runs(a, b, *output);
      return {};
    }
    return error(NQ_INVALID_MODEL, "two operands have shapes that do not fit; expected sizes that are equal, or 1");
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element *a = data_of(a_, tensors), *b = data_of(b_, tensors);
    Element* out = output<Element>(tensors);
    share(threads, broadcast_.elements(), 1, [&](Range range) {
      broadcast_.for_each_run(range.begin, range.end, [&](const BroadcastRun& run) {
        arithmetic_.run({a + run.a, b + run.b, run.a_step, run.b_step, run.count, out + run.begin});
      });
    });
  }

  RowOperator* by_rows(int input) override {
    const bool is_operand = inputs()[0] == input || inputs().back() == input;
    return is_int8_sum() && are_images_ && is_operand ? this : nullptr;
  }
  bool may_replace(int input) const override {
    const bool has_place = std::find(same_shape_.begin(), same_shape_.end(), input) != same_shape_.end();
    return std::is_same_v<Element, float> ? has_place : is_int8_sum() && are_alike_;
  }

  // As in a swish, x * logistic(x): a function of one code, and so a table itself.
  std::unique_ptr<Operator> fold_table(const Table& table, int from, int to) const override {
    if constexpr (std::is_same_v<Element, int8_t>) {
      if (inputs() != std::vector<int>{from, to} && inputs() != std::vector<int>{to, from}) return nullptr;
      int8_t codes[2][256], results[256];  // of `from` and of `to`
      for (int i = 0; i < 256; ++i) {
        codes[0][i] = static_cast<int8_t>(i - 128);
        codes[1][i] = table[i - 128];
      }
      const size_t a = inputs()[a_.position] == to, b = inputs()[b_.position] == to;
      arithmetic_.run({codes[a], codes[b], 1, 1, 256, results});
      Table folded(table);
      for (int i = 0; i < 256; ++i) folded[i - 128] = results[i];
      return std::make_unique<MapOperator<int8_t, int8_t, Table>>(from, Operator::output(), folded);
    }
    return nullptr;
  }

 private:
  using Operator::output;

  static constexpr bool is_int8_sum() { return std::is_same_v<Arithmetic, Addition>; }

  static Geometry geometry_of(const Shape& shape) {
    Geometry g;
    g.batches = shape[0];
    g.in_h = g.out_h = shape[1];
    g.in_w = g.out_w = shape[2];
    g.in_c = g.out_c = shape[3];
    return g;
  }

  const Geometry& geometry() const override { return geometry_; }

  void run_rows(const Band& band, const int8_t* in, const Pointers& tensors, int8_t* out,
                ThreadPool* threads) override {
    if constexpr (is_int8_sum()) {
      const int64_t row = int64_t{geometry_.in_w} * geometry_.in_c, count = band.geometry.out_h * row;
      const int64_t first = (int64_t{band.batch} * geometry_.in_h + band.first_row) * row;
      const auto operand = [&](const Operand& operand) {
        const int8_t* whole = tensors.count(inputs()[operand.position]) == 0 ? nullptr : data_of(operand, tensors);
        return whole == nullptr ? in : whole + first;
      };
      const int8_t *a = operand(a_), *b = operand(b_);
      share(threads, count, 1, [&](Range range) {
        arithmetic_.run({a + range.begin, b + range.begin, 1, 1, range.end - range.begin, out + range.begin});
      });
    }
  }

  // A constant along a short last axis alone is repeated, so that runs need not end where it does.
  void lengthen_runs(const Shape& a, const Shape& b, const Shape& out) {
    repeated_.clear();
    if (inputs().size() == 2) return;
    const bool of_a = a_.constant != nullptr;
    const Shape &constant = of_a ? a : b, &other = of_a ? b : a;
    const int64_t count = num_elements(constant);
    if (other != out || count < 2 || constant.back() != count || out.back() != count) return;
    const int64_t pixels = num_elements(out) / count;
    int64_t times = std::min(kLongRun / count, pixels);
    while (times > 1 && pixels % times != 0) --times;
    if (times < 2) return;
    const auto* elements = static_cast<const Element*>((of_a ? a_ : b_).constant);
    for (int64_t i = 0; i < times; ++i) repeated_.insert(repeated_.end(), elements, elements + count);
    const auto run = static_cast<int32_t>(times * count);
    const Shape row = {run}, rows = {static_cast<int32_t>(pixels / times), run};
    Shape ignored;
    broadcast_.set(of_a ? row : rows, of_a ? rows : row, &ignored);
  }

  const Shape& shape_of(const Operand& operand, const Shapes& shapes) const {
    return operand.constant != nullptr ? operand.shape : shapes.at(inputs()[operand.position]);
  }
  const Element* data_of(const Operand& operand, const Pointers& tensors) const {
    if (operand.constant == nullptr) return input<Element>(tensors, operand.position);
    return repeated_.empty() ? static_cast<const Element*>(operand.constant) : repeated_.data();
  }

  Operand a_, b_;
  Arithmetic arithmetic_;
  Broadcast broadcast_;
  std::vector<Element> repeated_;                // the constant operand, where runs are longer than it
  bool are_alike_ = false, are_images_ = false;  // the operands, none of them constant
  Geometry geometry_;
  std::vector<int> same_shape_;  // inputs as large as the output
};

// A node with two operands.
struct BinaryNode {
  std::vector<int> inputs;  // without constants
  Operand operands[2];
  bool is_float;
  Quantization a, b, out;
  ActivationRange range = {-128, 127};
  FloatRange float_range;
  Shape out_shape;
};

bool read_operand(const TfLiteContext& context, int index, std::vector<int>* inputs, Operand* operand,
                  std::string* reason) {
  const TfLiteTensor* tensor = tensor_at(context, index);
  if (!is_quantized_int8(tensor) && !is_float(tensor)) return refuse(reason, not_int8(tensor, tensor));
  const TfLiteIntArray& dims = *tensor->dims;
  if (dims.size > kMaxRank) return refuse(reason, "a rank above 6; up to 6 is supported");
  if (!is_constant(*tensor)) {
    operand->position = inputs->size();
    inputs->push_back(index);
    return true;
  }
  operand->constant = tensor->data;
  operand->shape.assign(dims.data, dims.data + dims.size);
  const size_t element_bytes = is_float(tensor) ? sizeof(float) : sizeof(int8_t);
  return static_cast<size_t>(num_elements(operand->shape)) * element_bytes == tensor->bytes ||
         refuse(reason, "a damaged constant");
}

// With the fused activation of its builtin_data, if it `has_activation`.
bool read_binary(const TfLiteContext& context, const TfLiteNode& node, bool has_activation, BinaryNode* binary,
                 std::string* reason) {
  if (node.inputs->size != 2 || node.outputs->size != 1) return refuse(reason, "another number of operands");
  const TfLiteTensor* out = tensor_at(context, node.outputs->data[0]);
  if (!is_quantized_int8(out) && !is_float(out)) return refuse(reason, not_int8(out, out));
  binary->is_float = is_float(out);
  for (int i = 0; i < 2; ++i) {
    const int index = node.inputs->data[i];
    if (!read_operand(context, index, &binary->inputs, &binary->operands[i], reason)) return false;
    if (is_float(&context.tensors[index]) != binary->is_float) return refuse(reason, "operands of several types");
  }
  if (binary->inputs.empty()) return refuse(reason, "two constants");
  const auto* params = params_of<BinaryParams>(node);
  if (has_activation && (params == nullptr || !is_known(params->activation))) return refuse(reason, "activation");
  const int activation = has_activation ? params->activation : kActivationNone;
  binary->a = quantization_of(context.tensors[node.inputs->data[0]]);
  binary->b = quantization_of(context.tensors[node.inputs->data[1]]);
  binary->out = quantization_of(*out);
  if (!binary->is_float) binary->range = activation_range(activation, *out);  // floats have no scale
  binary->float_range = float_activation_range(activation);
  binary->out_shape.assign(out->dims->data, out->dims->data + out->dims->size);
  return true;
}

template <typename Arithmetic>
std::unique_ptr<Operator> make_binary(const TfLiteNode& node, BinaryNode binary, const Arithmetic& arithmetic) {
  return std::make_unique<BinaryOperator<Arithmetic>>(std::move(binary.inputs), node.outputs->data[0],
                                                      std::move(binary.operands[0]), std::move(binary.operands[1]),
                                                      arithmetic);
}

// A difference with a constant has no role.
Role role_of(Role::Kind kind, const BinaryNode& binary) {
  const FloatRange all = float_activation_range(kActivationNone);
  Role role = {kind};
  role.shape = binary.out_shape;
  for (const Operand& operand : binary.operands) {
    if (operand.constant == nullptr) continue;
    role.constant = static_cast<const float*>(operand.constant);
    role.constant_shape = operand.shape;
  }
  const bool commutes = kind == Role::kAdd || kind == Role::kMultiply;
  const bool clamps = binary.float_range.min != all.min || binary.float_range.max != all.max;
  return clamps || (role.constant != nullptr && !commutes) ? Role() : role;
}

std::unique_ptr<Operator> make_float_binary(const TfLiteNode& node, BinaryNode binary,
                                            ElementwiseKernel::Floats::Binary function,
                                            Role::Kind kind = Role::kOther) {
  const FloatArithmetic arithmetic(function, binary.float_range);
  Role role = role_of(kind, binary);
  std::unique_ptr<Operator> step = make_binary(node, std::move(binary), arithmetic);
  step->set_role(std::move(role));
  return step;
}

// Of floats alone.
std::unique_ptr<Operator> make_of_floats(const TfLiteContext& context, const TfLiteNode& node, bool has_activation,
                                         ElementwiseKernel::Floats::Binary function, std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, has_activation, &binary, reason)) return nullptr;
  if (!binary.is_float) return stays(reason, "int8 activations; floats are supported");
  return make_float_binary(node, std::move(binary), function);
}

std::unique_ptr<Operator> make_by_reference(const TfLiteNode& node, BinaryNode binary, const Kernels& kernels,
                                            ReferenceArithmetic::Operation operation, std::string* reason) {
  ReferenceArithmetic arithmetic(*kernels.elementwise, operation);
  if (!arithmetic.set(binary.a, binary.b, binary.out, binary.range)) return stays(reason, "scales too far apart");
  return make_binary(node, std::move(binary), arithmetic);
}

// a + sign * b
std::unique_ptr<Operator> make_sum(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                   float sign, std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, true, &binary, reason)) return nullptr;
  const ElementwiseKernel::Floats& floats = kernels.elementwise->floats;
  if (binary.is_float && sign < 0) return make_float_binary(node, std::move(binary), floats.subtract, Role::kSubtract);
  if (binary.is_float) return make_float_binary(node, std::move(binary), floats.add, Role::kAdd);
  const Quantization &a = binary.a, &b = binary.b, &out = binary.out;
  Addition addition(*kernels.addition);
  if (addition.set({a.scale / out.scale, a.zero_point}, {sign * (b.scale / out.scale), b.zero_point}, out.zero_point,
                   binary.range)) {
    return make_binary(node, std::move(binary), addition);
  }
  const auto operation = sign < 0 ? ReferenceArithmetic::kSubtract : ReferenceArithmetic::kAdd;
  return make_by_reference(node, std::move(binary), kernels, operation, reason);
}

}  // namespace

std::unique_ptr<Operator> make_addition(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason) {
  return make_sum(context, node, kernels, 1, reason);
}

std::unique_ptr<Operator> make_subtraction(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                           std::string* reason) {
  return make_sum(context, node, kernels, -1, reason);
}

std::unique_ptr<Operator> make_multiplication(const TfLiteContext& context, const TfLiteNode& node,
                                              const Kernels& kernels, std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, true, &binary, reason)) return nullptr;
  if (binary.is_float) {
    return make_float_binary(node, std::move(binary), kernels.elementwise->floats.multiply, Role::kMultiply);
  }
  Multiplication multiplication(*kernels.elementwise);
  if (!multiplication.set(binary.a, binary.b, binary.out, binary.range)) return stays(reason, "scales too far apart");
  return make_binary(node, std::move(binary), multiplication);
}

std::unique_ptr<Operator> make_division(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason) {
  return make_of_floats(context, node, true, kernels.elementwise->floats.divide, reason);
}

std::unique_ptr<Operator> make_squared_difference(const TfLiteContext& context, const TfLiteNode& node,
                                                  const Kernels& kernels, std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, false, &binary, reason)) return nullptr;
  if (binary.is_float) {
    return make_float_binary(node, std::move(binary), kernels.elementwise->floats.difference_squared,
                             Role::kSquaredDifference);
  }
  return make_by_reference(node, std::move(binary), kernels, ReferenceArithmetic::kSquaredDifference, reason);
}

std::unique_ptr<Operator> make_maximum(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                       std::string* reason) {
  return make_of_floats(context, node, false, kernels.elementwise->floats.greater, reason);
}

std::unique_ptr<Operator> make_minimum(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                       std::string* reason) {
  return make_of_floats(context, node, false, kernels.elementwise->floats.lesser, reason);
}

}  // namespace nq
