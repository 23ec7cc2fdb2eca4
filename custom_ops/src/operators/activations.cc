#include "layers/float_function.h"
#include "layers/softmax.h"
#include "layers/table.h"
#include "operators/makers.h"
#include "operators/map_operator.h"

namespace nq {
namespace {

struct LeakyReluParams {
  float alpha;
};
struct SoftmaxParams {
  float beta;
};
struct GeluParams {
  bool approximate;
};

template <typename Arithmetic>
class SoftmaxOperator : public Operator {
  using Element = typename Arithmetic::Element;

 public:
  SoftmaxOperator(int input, int output, const Arithmetic& softmax)
      : Operator({input}, output, sizeof(Element)), softmax_(softmax) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    *output = shapes.at(inputs()[0]);
    columns_ = output->empty() ? 0 : output->back();
    if (columns_ < 1) return error(NQ_INVALID_MODEL, "a softmax has no elements; expected a last dimension");
    rows_ = num_elements(*output) / columns_;
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element* in = input<Element>(tensors, 0);
    Element* out = output<Element>(tensors);
    share(threads, rows_, columns_, [&](Range rows) {
      softmax_.run_rows(in + rows.begin * columns_, rows.end - rows.begin, columns_, out + rows.begin * columns_);
    });
  }

 private:
  using Operator::output;
  Arithmetic softmax_;
  int64_t rows_ = 0, columns_ = 0;
};

// `fill(input, output, &table)` is false where the scales do not fit.
template <typename Fill>
std::unique_ptr<Operator> make_by_table(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason, const Fill& fill) {
  if (!has_int8_ends(context, node, 1, reason)) return nullptr;
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  Table table(*kernels.elementwise);
  if (!fill(quantization_of(context.tensors[input]), quantization_of(context.tensors[output]), &table)) {
    return stays(reason, "scales too far apart");
  }
  return std::make_unique<MapOperator<int8_t, int8_t, Table>>(input, output, table);
}

template <typename Function>
std::unique_ptr<Operator> make_float_map(const TfLiteNode& node, const Function& function) {
  return std::make_unique<MapOperator<float, float, Function>>(node.inputs->data[0], node.outputs->data[0], function);
}

// Of floats alone.
std::unique_ptr<Operator> make_of_floats(const TfLiteContext& context, const TfLiteNode& node,
                                         ElementwiseKernel::Floats::Unary function, std::string* reason) {
  if (!has_float_ends(context, node, 1)) return stays(reason, "int8 activations; floats are supported");
  return make_float_map(node, FloatFunction(function));
}

std::unique_ptr<Operator> with_role(Role::Kind kind, std::unique_ptr<Operator> step) {
  if (step != nullptr) step->set_role({kind});
  return step;
}

std::unique_ptr<Operator> make_clamp(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                     int activation, std::string* reason) {
  if (has_float_ends(context, node, 1)) {
    return make_float_map(node, FloatClamp(*kernels.elementwise, float_activation_range(activation)));
  }
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    const ActivationRange range = activation_range(activation, context.tensors[node.outputs->data[0]]);
    return make_relu_table(input, output, range, table);
  });
}

}  // namespace

std::unique_ptr<Operator> make_logistic(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason) {
  if (has_float_ends(context, node, 1))
    return make_float_map(node, FloatFunction(kernels.elementwise->floats.logistic));
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    *table = logistic_table(*kernels.elementwise, input, output);
    return true;
  });
}

std::unique_ptr<Operator> make_tanh(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                    std::string* reason) {
  if (has_float_ends(context, node, 1)) return make_float_map(node, FloatFunction(kernels.elementwise->floats.tanh));
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    *table = tanh_table(*kernels.elementwise, input, output);
    return true;
  });
}

std::unique_ptr<Operator> make_elu(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                   std::string* reason) {
  if (has_float_ends(context, node, 1)) return make_float_map(node, FloatFunction(kernels.elementwise->floats.elu));
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    *table = elu_table(*kernels.elementwise, input, output);
    return true;
  });
}

std::unique_ptr<Operator> make_leaky_relu(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                          std::string* reason) {
  const auto* params = params_of<LeakyReluParams>(node);
  if (params == nullptr || !std::isnormal(params->alpha)) return stays(reason, "slope");
  if (has_float_ends(context, node, 1)) return make_float_map(node, FloatLeak(*kernels.elementwise, params->alpha));
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    return make_leaky_relu_table(input, output, params->alpha, table);
  });
}

std::unique_ptr<Operator> make_relu(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                    std::string* reason) {
  return make_clamp(context, node, kernels, kActivationRelu, reason);
}

std::unique_ptr<Operator> make_relu_n1_to_1(const TfLiteContext& context, const TfLiteNode& node,
                                            const Kernels& kernels, std::string* reason) {
  return make_clamp(context, node, kernels, kActivationReluN1To1, reason);
}

std::unique_ptr<Operator> make_relu6(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                     std::string* reason) {
  return make_clamp(context, node, kernels, kActivationRelu6, reason);
}

std::unique_ptr<Operator> make_hard_swish(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                          std::string* reason) {
  if (has_float_ends(context, node, 1)) {
    return make_float_map(node, FloatFunction(kernels.elementwise->floats.hard_swish));
  }
  return make_by_table(context, node, kernels, reason, make_hard_swish_table);
}

std::unique_ptr<Operator> make_softmax(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                       std::string* reason) {
  const bool floats = has_float_ends(context, node, 1);
  if (!floats && !has_int8_ends(context, node, 1, reason)) return nullptr;
  const auto* params = params_of<SoftmaxParams>(node);
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  if (params == nullptr || !(params->beta > 0) || !std::isfinite(params->beta)) return stays(reason, "beta");
  if (floats) {
    const FloatSoftmax softmax(*kernels.elementwise, params->beta);
    auto step = std::make_unique<SoftmaxOperator<FloatSoftmax>>(input, output, softmax);
    Role role = {Role::kSoftmax};
    role.beta = params->beta;
    step->set_role(std::move(role));
    return step;
  }
  const Quantization from = quantization_of(context.tensors[input]), to = quantization_of(context.tensors[output]);
  if (!std::isfinite(params->beta * from.scale)) return stays(reason, "beta");
  if (to.scale != 1.0f / 256 || to.zero_point != -128) return stays(reason, "an output scale other than 1/256");
  return std::make_unique<SoftmaxOperator<Softmax>>(input, output,
                                                    Softmax(*kernels.elementwise, from.scale, params->beta, to));
}

std::unique_ptr<Operator> make_gelu(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                    std::string* reason) {
  const auto* params = params_of<GeluParams>(node);
  const ElementwiseKernel::Floats& floats = kernels.elementwise->floats;
  if (params == nullptr) return stays(reason, "damaged options");
  if (has_float_ends(context, node, 1)) {
    return make_float_map(node, FloatFunction(params->approximate ? floats.gelu_by_tanh : floats.gelu));
  }
  return make_by_table(context, node, kernels, reason, [&](Quantization input, Quantization output, Table* table) {
    *table = gelu_table(*kernels.elementwise, input, output, params->approximate);
    return true;
  });
}

std::unique_ptr<Operator> make_negation(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason) {
  return with_role(Role::kNegate, make_of_floats(context, node, kernels.elementwise->floats.negate, reason));
}

std::unique_ptr<Operator> make_square(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                      std::string* reason) {
  return make_of_floats(context, node, kernels.elementwise->floats.square, reason);
}

std::unique_ptr<Operator> make_root(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                    std::string* reason) {
  return make_of_floats(context, node, kernels.elementwise->floats.root, reason);
}

std::unique_ptr<Operator> make_inverse_root(const TfLiteContext& context, const TfLiteNode& node,
                                            const Kernels& kernels, std::string* reason) {
  if (!has_float_ends(context, node, 1)) return make_by_table(context, node, kernels, reason, make_inverse_root_table);
  return with_role(Role::kInverseRoot, make_float_map(node, FloatFunction(kernels.elementwise->floats.inverse_root)));
}

}  // namespace nq
