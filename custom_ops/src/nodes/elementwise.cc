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

// A node with two operands.
struct BinaryNode {
  std::vector<int> inputs;  // without constants
  Operand operands[2];
  Quantization a, b, out;
  ActivationRange range;
};

bool read_operand(const TfLiteContext& context, int index, std::vector<int>* inputs, Operand* operand,
                  std::string* reason) {
  const TfLiteTensor* tensor = tensor_at(context, index);
  if (!is_quantized_int8(tensor)) return refuse(reason, not_int8(tensor, tensor));
  const TfLiteIntArray& dims = *tensor->dims;
  if (dims.size > kMaxRank) return refuse(reason, "a rank above 6; up to 6 is supported");
  if (!is_constant(*tensor)) {
    operand->position = inputs->size();
    inputs->push_back(index);
    return true;
  }
  operand->constant = static_cast<const int8_t*>(tensor->data);
  operand->shape.assign(dims.data, dims.data + dims.size);
  return num_elements(operand->shape) == static_cast<int64_t>(tensor->bytes) || refuse(reason, "a damaged constant");
}

bool read_binary(const TfLiteContext& context, const TfLiteNode& node, BinaryNode* binary, std::string* reason) {
  if (node.inputs->size != 2 || node.outputs->size != 1) return refuse(reason, "another number of operands");
  const TfLiteTensor* out = tensor_at(context, node.outputs->data[0]);
  if (!is_quantized_int8(out)) return refuse(reason, not_int8(out, out));
  for (int i = 0; i < 2; ++i) {
    if (!read_operand(context, node.inputs->data[i], &binary->inputs, &binary->operands[i], reason)) return false;
  }
  if (binary->inputs.empty()) return refuse(reason, "two constants");
  const auto* params = params_of<BinaryParams>(node);
  if (params == nullptr || !is_known(params->activation)) return refuse(reason, "activation");
  binary->a = quantization_of(context.tensors[node.inputs->data[0]]);
  binary->b = quantization_of(context.tensors[node.inputs->data[1]]);
  binary->out = quantization_of(*out);
  binary->range = activation_range(params->activation, *out);
  return true;
}

template <typename Arithmetic>
std::unique_ptr<Operator> make_binary(const TfLiteNode& node, BinaryNode binary, const Arithmetic& arithmetic) {
  return std::make_unique<BinaryOperator<Arithmetic>>(std::move(binary.inputs), node.outputs->data[0],
                                                      std::move(binary.operands[0]), std::move(binary.operands[1]),
                                                      arithmetic);
}

// a + sign * b
std::unique_ptr<Operator> make_sum(const TfLiteContext& context, const TfLiteNode& node, float sign,
                                   std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, &binary, reason)) return nullptr;
  const AdditionKernel* kernel = nullptr;
  if (const Status status = select_addition_kernel(&kernel); !status.ok()) return stays(reason, "no kernel");
  const Quantization &a = binary.a, &b = binary.b, &out = binary.out;
  Addition addition(*kernel);
  if (!addition.set({a.scale / out.scale, a.zero_point}, {sign * (b.scale / out.scale), b.zero_point}, out.zero_point,
                    binary.range)) {
    return stays(reason, "scales too far apart");
  }
  return make_binary(node, std::move(binary), addition);
}

}  // namespace

std::unique_ptr<Operator> make_addition(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  return make_sum(context, node, 1, reason);
}

std::unique_ptr<Operator> make_subtraction(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  return make_sum(context, node, -1, reason);
}

std::unique_ptr<Operator> make_multiplication(const TfLiteContext& context, const TfLiteNode& node,
                                              std::string* reason) {
  BinaryNode binary;
  if (!read_binary(context, node, &binary, reason)) return nullptr;
  Multiplication multiplication;
  if (!multiplication.set(binary.a, binary.b, binary.out, binary.range)) return stays(reason, "scales too far apart");
  return make_binary(node, std::move(binary), multiplication);
}

}  // namespace nq
