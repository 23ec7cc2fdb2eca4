// Operators with two operands, either of which may be constant or broadcast.
#include "layers/addition.h"
#include "layers/broadcast.h"
#include "layers/multiplication.h"
#include "nodes/makers.h"

namespace nq {
namespace {

constexpr int kMaxRank = 6;  // XNNPACK's

// What the three operators' builtin_data begin with.
struct BinaryParams {
  int activation;
};

// Either computed by another operator, at `position` among the inputs, or a constant.
struct Operand {
  size_t position = 0;
  const int8_t* constant = nullptr;
  Shape shape;  // a constant's
};

template <typename Arithmetic>
class BinaryOperator : public Operator {
 public:
  BinaryOperator(std::vector<int> inputs, int output, Operand a, Operand b, const Arithmetic& arithmetic)
      : Operator(std::move(inputs), output), a_(std::move(a)), b_(std::move(b)), arithmetic_(arithmetic) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    if (broadcast_.set(shape_of(a_, shapes), shape_of(b_, shapes), output)) return {};
    return error(NQ_INVALID_MODEL, "two operands have shapes that do not fit; expected sizes that are equal, or 1");
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t *a = data_of(a_, tensors), *b = data_of(b_, tensors);
    int8_t* out = output(tensors);
    share(threads, broadcast_.elements(), 1, [&](Range range) {
      broadcast_.for_each_run(range.begin, range.end, [&](const BroadcastRun& run) {
        arithmetic_.run({a + run.a, b + run.b, run.a_step, run.b_step, run.count, out + run.begin});
      });
    });
  }

 private:
  using Operator::output;

  const Shape& shape_of(const Operand& operand, const Shapes& shapes) const {
    return operand.constant != nullptr ? operand.shape : shapes.at(inputs()[operand.position]);
  }
  const int8_t* data_of(const Operand& operand, const Pointers& tensors) const {
    return operand.constant != nullptr ? operand.constant : input(tensors, operand.position);
  }

  Operand a_, b_;
  Arithmetic arithmetic_;
  Broadcast broadcast_;
};

// The two operands; false, with the reason, where the operator stays with the runtime.
bool read_operands(const TfLiteContext& context, const TfLiteNode& node, std::vector<int>* inputs, Operand operands[2],
                   std::string* reason) {
  if (node.inputs->size != 2 || node.outputs->size != 1) return refuse(reason, "another number of operands");
  if (!is_quantized_int8(tensor_at(context, node.outputs->data[0]))) return refuse(reason, "not full-int8");
  for (int i = 0; i < 2; ++i) {
    const TfLiteTensor* tensor = tensor_at(context, node.inputs->data[i]);
    if (!is_quantized_int8(tensor)) return refuse(reason, "not full-int8");
    const TfLiteIntArray& dims = *tensor->dims;
    if (dims.size > kMaxRank) return refuse(reason, "rank above 6");
    if (is_constant(*tensor)) {
      operands[i].constant = static_cast<const int8_t*>(tensor->data);
      operands[i].shape.assign(dims.data, dims.data + dims.size);
      if (num_elements(operands[i].shape) != static_cast<int64_t>(tensor->bytes)) return refuse(reason, "damaged");
    } else {
      operands[i].position = inputs->size();
      inputs->push_back(node.inputs->data[i]);
    }
  }
  return !inputs->empty() || refuse(reason, "two constants");
}

bool set_arithmetic(const TfLiteTensor& a, const TfLiteTensor& b, const TfLiteTensor& out, float sign,
                    ActivationRange range, Addition* addition) {
  return addition->set({a.params.scale / out.params.scale, a.params.zero_point},
                       {sign * (b.params.scale / out.params.scale), b.params.zero_point}, out.params.zero_point, range);
}

bool set_arithmetic(const TfLiteTensor& a, const TfLiteTensor& b, const TfLiteTensor& out, float, ActivationRange range,
                    Multiplication* multiplication) {
  return multiplication->set(quantization_of(a), quantization_of(b), quantization_of(out), range);
}

template <typename Arithmetic>
std::unique_ptr<Operator> make_binary(const TfLiteContext& context, const TfLiteNode& node, float sign,
                                      std::string* reason) {
  std::vector<int> inputs;
  Operand operands[2];
  if (!read_operands(context, node, &inputs, operands, reason)) return nullptr;
  const auto* params = params_of<BinaryParams>(node);
  if (params == nullptr || !is_known(params->activation)) return stays(reason, "activation");
  const TfLiteTensor *a = tensor_at(context, node.inputs->data[0]), *b = tensor_at(context, node.inputs->data[1]);
  const TfLiteTensor& out = context.tensors[node.outputs->data[0]];
  Arithmetic arithmetic;
  if (!set_arithmetic(*a, *b, out, sign, activation_range(params->activation, out), &arithmetic)) {
    return stays(reason, "scales too far apart");
  }
  return std::make_unique<BinaryOperator<Arithmetic>>(std::move(inputs), node.outputs->data[0], std::move(operands[0]),
                                                      std::move(operands[1]), arithmetic);
}

}  // namespace

std::unique_ptr<Operator> make_addition(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  return make_binary<Addition>(context, node, 1, reason);
}

std::unique_ptr<Operator> make_subtraction(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  return make_binary<Addition>(context, node, -1, reason);
}

std::unique_ptr<Operator> make_multiplication(const TfLiteContext& context, const TfLiteNode& node,
                                              std::string* reason) {
  return make_binary<Multiplication>(context, node, 1, reason);
}

}  // namespace nq
