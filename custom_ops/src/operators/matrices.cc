// BATCH_MATMUL of two float tensors that are both computed.
#include "operators/makers.h"

namespace nq {
namespace {

constexpr int64_t kRowsAtOnce = 8;

struct BatchMatMulParams {
  bool adj_x, adj_y;
};

class MatrixProductOperator : public Operator {
 public:
  // `by_rows`: the second matrix has the depth as its last axis.
  MatrixProductOperator(int a, int b, int output, const ElementwiseKernel& kernel, bool by_rows)
      : Operator({a, b}, output, sizeof(float)),
        multiply_(by_rows ? kernel.floats.multiply_by_rows : kernel.floats.multiply_matrices),
        by_rows_(by_rows) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape &a = shapes.at(inputs()[0]), &b = shapes.at(inputs()[1]);
    const auto unfit = [] {
      return error(NQ_INVALID_MODEL,
                   "two matrices have shapes that cannot be multiplied; expected [.., n, k] and [.., k, m]");
    };
    if (a.size() < 2 || b.size() < 2) return unfit();
    const Shape of_a(a.begin(), a.end() - 2), of_b(b.begin(), b.end() - 2);
    const int32_t rows = a[a.size() - 2], depth = a.back();
    const int32_t columns = by_rows_ ? b[b.size() - 2] : b.back();
    if ((by_rows_ ? b.back() : b[b.size() - 2]) != depth) return unfit();
    shares_b_ = num_elements(of_b) == 1 && of_b.size() <= of_a.size();
    if (of_a != of_b && !shares_b_) return unfit();
    matrices_ = num_elements(of_a);
    sizes_ = {static_cast<size_t>(rows), static_cast<size_t>(depth), static_cast<size_t>(columns)};
    *output = of_a;
    output->push_back(rows);
    output->push_back(columns);
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const float *a = input<float>(tensors, 0), *b = input<float>(tensors, 1);
    float* out = output<float>(tensors);
    const auto rows = static_cast<int64_t>(sizes_.rows), bands = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
    const auto cost = kRowsAtOnce * static_cast<int64_t>(sizes_.depth * sizes_.columns) / 8;
    share(threads, matrices_ * bands, cost, [&](Range range) {
      while (range.begin < range.end) {  // the part of it that lies in one matrix
        const int64_t matrix = range.begin / bands, band = range.begin % bands;
        const int64_t count = std::min(bands - band, range.end - range.begin);
        const int64_t first = band * kRowsAtOnce, last = std::min(rows, (band + count) * kRowsAtOnce);
        const int64_t row = matrix * rows + first;
        multiply_(a + row * static_cast<int64_t>(sizes_.depth),
                  b + (shares_b_ ? 0 : matrix) * static_cast<int64_t>(sizes_.depth * sizes_.columns),
                  {static_cast<size_t>(last - first), sizes_.depth, sizes_.columns},
                  out + row * static_cast<int64_t>(sizes_.columns));
        range.begin += count;
      }
    });
  }

 private:
  using Operator::output;
  void (*multiply_)(const float* a, const float* b, const MatrixSizes& sizes, float* out);
  bool by_rows_, shares_b_ = false;
  int64_t matrices_ = 0;
  MatrixSizes sizes_ = {};
};

}  // namespace

std::unique_ptr<Operator> make_matrix_product(const TfLiteContext& context, const TfLiteNode& node,
                                              const Kernels& kernels, std::string* reason) {
  if (!has_float_ends(context, node, 2)) return stays(reason, "int8 activations; floats are supported");
  const int a = node.inputs->data[0], b = node.inputs->data[1];
  const TfLiteTensor* second = tensor_at(context, b);
  if (!is_float(second) || is_constant(*second)) return stays(reason, "a constant operand");
  const auto* params = params_of<BatchMatMulParams>(node);
  if (params == nullptr || params->adj_x) return stays(reason, "a first operand that is transposed");
  return std::make_unique<MatrixProductOperator>(a, b, node.outputs->data[0], *kernels.elementwise, params->adj_y);
}

}  // namespace nq
