// BATCH_MATMUL of two tensors that are both computed.
#include "operators/makers.h"
#include "operators/matrix_operator.h"

namespace nq {
namespace {

struct BatchMatMulParams {
  bool adj_x, adj_y;
};

// `Arithmetic` is FloatProduct or CodeProduct.
template <typename Arithmetic>
class ProductOf : public MatrixProductOperator {
  using Element = typename Arithmetic::Element;

 public:
  ProductOf(int a, int b, int output, bool by_rows, Shape shape, const Arithmetic& arithmetic)
      : MatrixProductOperator(a, b, output, sizeof(Element), by_rows, std::move(shape)), arithmetic_(arithmetic) {}

  const Arithmetic& arithmetic() const { return arithmetic_; }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element *a = input<Element>(tensors, 0), *b = input<Element>(tensors, 1);
    auto* out = Operator::output<Element>(tensors);
    const MatrixProduct& product = this->product();
    const size_t packed_bytes = align(Arithmetic::packed_bytes(product), kLineBytes);
    threads->run([&](int part, Workspace* workspace) {
      uint8_t* packed = workspace->get(packed_bytes + kMatrixRows * Arithmetic::scratch_bytes(product));
      const Range range = split_range(bands_of(product), part, threads->size());
      for_each_band(range, product.rows(), [&](int64_t matrix, Range rows, bool is_new) {
        if (is_new) arithmetic_.pack(product, b, matrix, packed);
        arithmetic_.multiply(product, rows.end - rows.begin, a + product.place_in_a(matrix, rows.begin),
                             product.a_stride(), packed, packed + packed_bytes,
                             out + product.place_in_output(matrix, rows.begin), product.output_stride());
      });
    });
  }

 private:
  Arithmetic arithmetic_;
};

}  // namespace

Status unfit_matrices() {
  return error(NQ_INVALID_MODEL,
               "two matrices have shapes that cannot be multiplied; expected [.., n, k] and [.., k, m]");
}

std::unique_ptr<Operator> make_matrix_product(const TfLiteContext& context, const TfLiteNode& node,
                                              const Kernels& kernels, std::string* reason) {
  const bool floats = has_float_ends(context, node, 2);
  if (!floats && !has_int8_ends(context, node, 2, reason)) return nullptr;
  const int a = node.inputs->data[0], b = node.inputs->data[1], output = node.outputs->data[0];
  const TfLiteTensor* second = tensor_at(context, b);
  if (!(floats ? is_float(second) : is_quantized_int8(second))) return stays(reason, "operands of several types");
  if (is_constant(*second)) return stays(reason, "a constant operand");
  const auto* params = params_of<BatchMatMulParams>(node);
  if (params == nullptr || params->adj_x) return stays(reason, "a first operand that is transposed");
  const TfLiteIntArray& dims = *context.tensors[output].dims;
  const Shape shape(dims.data, dims.data + dims.size);
  if (floats) {
    return std::make_unique<ProductOf<FloatProduct>>(a, b, output, params->adj_y, shape,
                                                     FloatProduct(*kernels.elementwise));
  }
  CodeProduct product;
  if (!product.set(*kernels.elementwise, quantization_of(context.tensors[a]), quantization_of(*second),
                   quantization_of(context.tensors[output]))) {
    return stays(reason, "scales too far apart");
  }
  return std::make_unique<ProductOf<CodeProduct>>(a, b, output, params->adj_y, shape, product);
}

}  // namespace nq
