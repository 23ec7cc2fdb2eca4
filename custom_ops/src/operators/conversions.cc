// QUANTIZE and DEQUANTIZE: at a graph's ends, and between two scales.
#include "layers/conversion.h"
#include "layers/table.h"
#include "operators/makers.h"
#include "operators/map_operator.h"

namespace nq {
namespace {

struct Quantize {
  Quantization quantization;
  const ElementwiseKernel& kernel;
  void run(const float* in, int64_t count, int8_t* out) const { quantize(kernel, in, count, quantization, out); }
};

struct Dequantize {
  Quantization quantization;
  const ElementwiseKernel& kernel;
  void run(const int8_t* in, int64_t count, float* out) const { dequantize(kernel, in, count, quantization, out); }
};

std::unique_ptr<Operator> make_requantization(const TfLiteContext& context, const TfLiteNode& node,
                                              const Kernels& kernels, std::string* reason) {
  if (!has_int8_ends(context, node, 1, reason)) return nullptr;
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  Table table(*kernels.elementwise);
  if (!make_requantize_table(quantization_of(context.tensors[input]), quantization_of(context.tensors[output]),
                             &table)) {
    return stays(reason, "scales too far apart");
  }
  return std::make_unique<MapOperator<int8_t, int8_t, Table>>(input, output, table);
}

}  // namespace

std::unique_ptr<Operator> make_quantization(const TfLiteContext& context, const TfLiteNode& node,
                                            const Kernels& kernels, std::string* reason) {
  if (node.inputs->size != 1 || node.outputs->size != 1) return stays(reason, "another number of operands");
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  const TfLiteTensor *in = tensor_at(context, input), *out = tensor_at(context, output);
  if (!is_float(in)) return make_requantization(context, node, kernels, reason);
  if (is_constant(*in) || !is_quantized_int8(out)) return stays(reason, "not from computed floats to int8");
  return std::make_unique<MapOperator<float, int8_t, Quantize>>(input, output,
                                                                Quantize{quantization_of(*out), *kernels.elementwise});
}

std::unique_ptr<Operator> make_dequantization(const TfLiteContext& context, const TfLiteNode& node,
                                              const Kernels& kernels, std::string* reason) {
  if (node.inputs->size != 1 || node.outputs->size != 1) return stays(reason, "another number of operands");
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  const TfLiteTensor* in = tensor_at(context, input);
  if (!is_quantized_int8(in) || is_constant(*in) || !is_float(tensor_at(context, output))) {
    return stays(reason, "not from int8 to float32");
  }
  return std::make_unique<MapOperator<int8_t, float, Dequantize>>(
      input, output, Dequantize{quantization_of(*in), *kernels.elementwise});
}

}  // namespace nq
