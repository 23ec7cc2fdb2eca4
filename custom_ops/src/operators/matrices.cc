// BATCH_MATMUL of two tensors that are both computed, and attention: two of them, of floats, with a softmax between.
#include "layers/matrix_product.h"
#include "layers/softmax.h"
#include "operators/makers.h"
#include "operators/step_graph.h"

namespace nq {
namespace {

constexpr int64_t kRowsAtOnce = 24;  // of a matrix: whole tiles of most kernels

struct BatchMatMulParams {
  bool adj_x, adj_y;
};

Status unfit() {
  return error(NQ_INVALID_MODEL,
               "two matrices have shapes that cannot be multiplied; expected [.., n, k] and [.., k, m]");
}

// Calls work(matrix, rows, is_new) for bands of rows of all matrices, each thread's in order; `is_new` where the thread
// comes to a matrix.
template <typename Work>
void for_each_band(Range range, int64_t rows, const Work& work) {
  const int64_t bands = (rows + kRowsAtOnce - 1) / kRowsAtOnce;
  int64_t last = -1;
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t matrix = i / bands, first = i % bands * kRowsAtOnce;
    work(matrix, Range{first, std::min(first + kRowsAtOnce, rows)}, matrix != last);
    last = matrix;
  }
}

int64_t macs_of(const MatrixProduct& product) {
  return product.matrices() * product.rows() * product.columns() * product.depth();
}

int64_t bands_of(const MatrixProduct& product) {
  return product.matrices() * ((product.rows() + kRowsAtOnce - 1) / kRowsAtOnce);
}

class MatrixProductOperator : public Operator {
 public:
  using Operator::output;

  MatrixProductOperator(int a, int b, int output, size_t element_bytes, bool by_rows)
      : Operator({a, b}, output, element_bytes), product_(by_rows) {
    set_role({Role::kMatrixProduct});
  }

  const MatrixProduct& product() const { return product_; }

  // Reads tensor `from`, whose axes in that order are an operand; false if it cannot.
  bool absorb_input(const std::vector<int32_t>& order, int from, int operand) {
    bool absorbed = false;
    for (size_t i = 0; i < 2; ++i) {
      if (inputs()[i] != operand) continue;
      if (!(i == 0 ? product_.transpose_a(order) : product_.transpose_b(order))) return false;
      set_input(i, from);
      absorbed = true;
    }
    return absorbed;
  }

  bool absorb_output(const std::vector<int32_t>& order, int to) {
    if (!product_.transpose_output(order)) return false;
    set_output(to);
    return true;
  }

  int64_t macs() const override { return macs_of(product_); }

  Status reshape(const Shapes& shapes, Shape* output) override {
    return product_.reshape(shapes.at(inputs()[0]), shapes.at(inputs()[1]), output) ? Status() : unfit();
  }

 private:
  MatrixProduct product_;
};

// `Arithmetic` is FloatProduct or CodeProduct.
template <typename Arithmetic>
class ProductOf : public MatrixProductOperator {
  using Element = typename Arithmetic::Element;

 public:
  ProductOf(int a, int b, int output, bool by_rows, const Arithmetic& arithmetic)
      : MatrixProductOperator(a, b, output, sizeof(Element), by_rows), arithmetic_(arithmetic) {}

  const Arithmetic& arithmetic() const { return arithmetic_; }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element *a = input<Element>(tensors, 0), *b = input<Element>(tensors, 1);
    auto* out = Operator::output<Element>(tensors);
    const MatrixProduct& product = this->product();
    const size_t packed_bytes = align(Arithmetic::packed_bytes(product), kLineBytes);
    threads->run([&](int part, Workspace* workspace) {
      uint8_t* packed = workspace->get(packed_bytes + kRowsAtOnce * Arithmetic::scratch_bytes(product));
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

// What is done to scores before the softmax: times `factor`, plus constants, as many as `addends` again and again.
struct ScoreTerms {
  float factor = 1;
  const float* addend = nullptr;
  int64_t addends = 0;
};

class AttentionOperator : public Operator {
 public:
  // `between`: the steps from the scores to their softmax.
  AttentionOperator(const MatrixProductOperator& scores, Steps between, const ScoreTerms& terms,
                    const MatrixProductOperator& values, const ElementwiseKernel& kernel)
      : Operator({scores.inputs()[0], scores.inputs()[1], values.inputs()[1]}, values.output(), sizeof(float)),
        scores_(scores.product()),
        values_(values.product()),
        scores_tensor_(scores.output()),
        between_(std::move(between)),
        terms_(terms),
        arithmetic_(kernel),
        softmax_(kernel, between_.back()->role().beta * (terms.addend == nullptr ? terms.factor : 1)),
        kernel_(kernel) {}

  int64_t macs() const override { return macs_of(scores_) + macs_of(values_); }

  Status reshape(const Shapes& shapes, Shape* output) override {
    Shapes inside;
    Shape& scores = inside[scores_tensor_];
    if (!scores_.reshape(shapes.at(inputs()[0]), shapes.at(inputs()[1]), &scores)) return unfit();
    for (const auto& step : between_) {
      if (Status status = step->reshape(inside, &inside[step->output()]); !status.ok()) return status;
    }
    const Shape& powers = inside[between_.back()->output()];
    const bool fits = values_.reshape(powers, shapes.at(inputs()[2]), output) && values_.rows() == scores_.rows() &&
                      values_.depth() == scores_.columns() && values_.matrices() == scores_.matrices();
    return fits ? Status() : unfit();
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const float *a = input<float>(tensors, 0), *b = input<float>(tensors, 1), *values = input<float>(tensors, 2);
    float* out = output<float>(tensors);
    const int64_t columns = scores_.columns(), stride = scores_.whole_columns();
    const size_t key_bytes = FloatProduct::packed_bytes(scores_), value_bytes = FloatProduct::packed_bytes(values_);
    threads->run([&](int part, Workspace* workspace) {
      const size_t row_bytes = static_cast<size_t>(kRowsAtOnce * stride) * sizeof(float);
      uint8_t* keys = workspace->get(key_bytes + value_bytes + 2 * row_bytes);
      uint8_t* packed_values = keys + key_bytes;
      auto* scores = reinterpret_cast<float*>(packed_values + value_bytes);
      float* powers = scores + kRowsAtOnce * stride;
      const Range range = split_range(bands_of(scores_), part, threads->size());
      for_each_band(range, scores_.rows(), [&](int64_t matrix, Range rows, bool is_new) {
        if (is_new) {
          arithmetic_.pack(scores_, b, matrix, keys);
          arithmetic_.pack(values_, values, matrix, packed_values);
        }
        const int64_t count = rows.end - rows.begin;
        arithmetic_.multiply_whole(scores_, count, a + scores_.place_in_a(matrix, rows.begin), scores_.a_stride(), keys,
                                   scores);
        float *from = scores, *to = powers;
        if (terms_.addend != nullptr) {
          for (int64_t row = 0; row < count; ++row) {
            add_term(matrix, rows.begin + row, from + row * stride, to + row * stride);
          }
          std::swap(from, to);
        }
        for (int64_t row = 0; row < count; ++row) {  // whole vectors of them, and nothing of what is behind a row
          std::fill(from + row * stride + columns, from + (row + 1) * stride, -std::numeric_limits<float>::infinity());
          softmax_.run_row(from + row * stride, stride, to + row * stride);
        }
        arithmetic_.multiply(values_, count, to, stride, packed_values, nullptr,
                             out + values_.place_in_output(matrix, rows.begin), values_.output_stride());
      });
    });
  }

 private:
  using Operator::output;

  void add_term(int64_t matrix, int64_t row, float* scores, float* out) const {
    const auto columns = static_cast<size_t>(scores_.columns());
    const float* addend = terms_.addend + (matrix * scores_.rows() + row) * scores_.columns() % terms_.addends;
    const float infinity = std::numeric_limits<float>::infinity();
    kernel_.floats.scale(scores, columns, terms_.factor);
    kernel_.floats.add({scores, addend, 1, 1}, -infinity, infinity, columns, out);
  }

  MatrixProduct scores_, values_;
  int scores_tensor_;
  Steps between_;
  ScoreTerms terms_;
  FloatProduct arithmetic_;
  FloatSoftmax softmax_;
  const ElementwiseKernel& kernel_;
};

MatrixProductOperator* product_at(const Steps& steps, size_t position) {
  Operator* step = position == StepGraph::kNone ? nullptr : steps[position].get();
  const bool is_product = step != nullptr && step->role().kind == Role::kMatrixProduct;
  return is_product ? static_cast<MatrixProductOperator*>(step) : nullptr;
}

void absorb_transpositions(const std::unordered_set<int>& outputs, Steps* steps) {
  const StepGraph graph(outputs, *steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    std::unique_ptr<Operator>& step = (*steps)[i];
    if (step == nullptr || step->role().kind != Role::kTransposition) continue;
    const std::vector<int32_t>& order = step->role().order;
    MatrixProductOperator* reader = product_at(*steps, graph.only_reader(step->output(), Role::kMatrixProduct));
    if (reader != nullptr && reader->absorb_input(order, step->inputs()[0], step->output())) {
      step = nullptr;
      continue;
    }
    const size_t writer = graph.writer(step->inputs()[0]);
    MatrixProductOperator* product = product_at(*steps, writer);
    if (product == nullptr || graph.only_reader(product->output(), Role::kTransposition) != i) continue;
    if (product->absorb_output(order, step->output())) step = nullptr;
  }
  drop_merged(steps);
}

// A constant of whole matrices, which repeat along the first axes.
bool is_addend(const Role& role) {
  const Shape& shape = role.constant_shape;
  const auto ones = std::find_if(shape.begin(), shape.end(), [](int32_t size) { return size != 1; }) - shape.begin();
  const auto axes = static_cast<std::ptrdiff_t>(shape.size()) - ones;
  return role.kind == Role::kAdd && axes >= 2 && axes <= static_cast<std::ptrdiff_t>(role.shape.size()) &&
         std::equal(shape.rbegin(), shape.rbegin() + axes, role.shape.rbegin());
}

// Follows what stands between the scores and a softmax, the last one of `passed`; false if there is none.
bool find_softmax(const StepGraph& graph, const Steps& steps, int scores, ScoreTerms* terms,
                  std::vector<size_t>* passed) {
  for (int tensor = scores;;) {
    const std::vector<size_t>& readers = graph.readers(tensor);
    if (readers.size() != 1 || steps[readers[0]] == nullptr) return false;
    const Role& role = steps[readers[0]]->role();
    passed->push_back(readers[0]);
    if (role.kind == Role::kSoftmax) return true;
    const bool adds = terms->addend == nullptr && is_addend(role);
    const bool multiplies = role.kind == Role::kMultiply && role.constant != nullptr && terms->addend == nullptr &&
                            num_elements(role.constant_shape) == 1 && *role.constant > 0;
    if (!adds && !multiplies && role.kind != Role::kReshapeOfMatrices) return false;
    if (adds) terms->addend = role.constant, terms->addends = num_elements(role.constant_shape);
    if (multiplies) terms->factor *= *role.constant;
    tensor = steps[readers[0]]->output();
  }
}

}  // namespace

void fuse_attention(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  absorb_transpositions(outputs, steps);
  const StepGraph graph(outputs, *steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    const MatrixProductOperator* scores = product_at(*steps, i);
    ScoreTerms terms;
    std::vector<size_t> passed;
    if (scores == nullptr || scores->element_bytes() != sizeof(float) || scores->product().transposes_output())
      continue;
    if (!find_softmax(graph, *steps, scores->output(), &terms, &passed)) continue;
    const int powers = (*steps)[passed.back()]->output();
    const size_t last = graph.only_reader(powers, Role::kMatrixProduct);
    const MatrixProductOperator* values = product_at(*steps, last);
    if (values == nullptr || values->inputs()[0] != powers || values->product().transposes_a()) continue;
    Steps between;
    for (const size_t position : passed) between.push_back(std::move((*steps)[position]));
    (*steps)[last] =
        std::make_unique<AttentionOperator>(*scores, std::move(between), terms, *values, *kernels.elementwise);
    (*steps)[i] = nullptr;
  }
  drop_merged(steps);
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
  if (floats) {
    return std::make_unique<ProductOf<FloatProduct>>(a, b, output, params->adj_y, FloatProduct(*kernels.elementwise));
  }
  CodeProduct product;
  if (!product.set(*kernels.elementwise, quantization_of(context.tensors[a]), quantization_of(*second),
                   quantization_of(context.tensors[output]))) {
    return stays(reason, "scales too far apart");
  }
  return std::make_unique<ProductOf<CodeProduct>>(a, b, output, params->adj_y, product);
}

}  // namespace nq
