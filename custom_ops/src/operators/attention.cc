// Attention as one operator: two products of floats with a softmax between them, and maybe a factor and an addend.
#include "layers/attention.h"

#include "layers/strided_copy.h"
#include "operators/matrix_operator.h"

namespace nq {
namespace {

// What is done to scores before the softmax: times `factor`, plus a constant or a tensor that is broadcast to them.
struct ScoreTerms {
  float factor = 1;
  int sum = -1;                     // the tensor with the addend in it
  const float* constant = nullptr;  // the addend
  Shape shape;                      // a constant's
  int tensor = -1;                  // or the addend as a tensor
  bool adds() const { return sum >= 0; }
};

// Where the addend of a matrix's scores begins, and how far apart it lies for each row and column.
class Addend {
 public:
  // `sum`: the shape of scores that it is broadcast to; false if it cannot be.
  bool set(const Shape& addend, const Shape& sum, const MatrixProduct& scores) {
    const size_t rank = sum.size();
    if (rank < 2 || addend.size() > rank || num_elements(sum) != scores.matrices() * scores.rows() * scores.columns()) {
      return false;
    }
    if (sum[rank - 2] != scores.rows() || sum[rank - 1] != scores.columns()) return false;
    Shape whole(rank - addend.size(), 1);
    whole.insert(whole.end(), addend.begin(), addend.end());
    std::vector<int64_t> strides = strides_of(whole);
    for (size_t axis = 0; axis < rank; ++axis) {
      if (whole[axis] != sum[axis] && whole[axis] != 1) return false;
      if (whole[axis] == 1) strides[axis] = 0;
    }
    row_stride_ = strides[rank - 2], step_ = strides[rank - 1];
    offsets_.clear();
    for (int64_t matrix = 0; matrix < scores.matrices(); ++matrix) {
      int64_t offset = 0, rest = matrix;
      for (size_t axis = rank - 2; axis-- > 0; rest /= sum[axis]) offset += rest % sum[axis] * strides[axis];
      offsets_.push_back(offset);
    }
    return true;
  }

  int64_t place(int64_t matrix, int64_t row) const { return offsets_[static_cast<size_t>(matrix)] + row * row_stride_; }
  int64_t row_stride() const { return row_stride_; }
  int64_t step() const { return step_; }

 private:
  std::vector<int64_t> offsets_;
  int64_t row_stride_ = 0, step_ = 0;
};

std::vector<int> inputs_of(const MatrixProductOperator& scores, const ScoreTerms& terms,
                           const MatrixProductOperator& values) {
  std::vector<int> inputs = {scores.inputs()[0], scores.inputs()[1], values.inputs()[1]};
  if (terms.tensor >= 0) inputs.push_back(terms.tensor);
  return inputs;
}

class AttentionOperator : public Operator {
 public:
  // `between`: the steps from the scores to their softmax.
  AttentionOperator(const MatrixProductOperator& scores, Steps between, const ScoreTerms& terms,
                    const MatrixProductOperator& values, const ElementwiseKernel& kernel)
      : Operator(inputs_of(scores, terms, values), values.output(), sizeof(float)),
        scores_(scores.product()),
        values_(values.product()),
        scores_tensor_(scores.output()),
        between_(std::move(between)),
        terms_(terms),
        attention_(kernel, terms.factor, between_.back()->role().beta) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    Shapes inside;
    if (terms_.tensor >= 0) inside[terms_.tensor] = shapes.at(terms_.tensor);
    Shape& scores = inside[scores_tensor_];
    if (!scores_.reshape(shapes.at(inputs()[0]), shapes.at(inputs()[1]), &scores)) return unfit_matrices();
    for (const auto& step : between_) {
      if (Status status = step->reshape(inside, &inside[step->output()]); !status.ok()) return status;
    }
    const Shape& powers = inside[between_.back()->output()];
    const Shape& addend = terms_.tensor >= 0 ? inside[terms_.tensor] : terms_.shape;
    const bool fits = values_.reshape(powers, shapes.at(inputs()[2]), output) && values_.rows() == scores_.rows() &&
                      values_.depth() == scores_.columns() && values_.matrices() == scores_.matrices() &&
                      (!terms_.adds() || addend_.set(addend, inside[terms_.sum], scores_));
    if (!fits) return unfit_matrices();
    attention_.set(scores_, values_);
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const float *q = input<float>(tensors, 0), *k = input<float>(tensors, 1), *v = input<float>(tensors, 2);
    const float* addend = terms_.tensor >= 0 ? input<float>(tensors, 3) : terms_.constant;
    float* out = output<float>(tensors);
    threads->run([&](int part, Workspace* memory) {
      uint8_t* workspace = memory->get(attention_.workspace_bytes());
      const Range range = split_range(bands_of(scores_), part, threads->size());
      for_each_band(range, scores_.rows(), [&](int64_t matrix, Range rows, bool is_new) {
        if (is_new) attention_.pack(scores_, values_, matrix, k, v, workspace);
        Attention::Rows some = {q + scores_.place_in_a(matrix, rows.begin), nullptr, addend_.row_stride(),
                                addend_.step(), rows.end - rows.begin};
        if (addend != nullptr) some.addend = addend + addend_.place(matrix, rows.begin);
        attention_.run(scores_, values_, some, workspace, out + values_.place_in_output(matrix, rows.begin));
      });
    });
  }

 private:
  using Operator::output;

  MatrixProduct scores_, values_;
  int scores_tensor_;
  Steps between_;
  ScoreTerms terms_;
  Addend addend_;
  Attention attention_;
};

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

// Takes over what a step adds to scores, of which there are as many as its output has elements.
bool take_addend(const Operator& step, int scores, ScoreTerms* terms) {
  const Role& role = step.role();
  if (role.constant == nullptr) {
    if (step.inputs().size() != 2 || step.inputs()[0] == step.inputs()[1]) return false;
    terms->tensor = step.inputs()[step.inputs()[0] == scores ? 1 : 0];
  }
  terms->constant = role.constant, terms->shape = role.constant_shape, terms->sum = step.output();
  return true;
}

// Follows what stands between the scores and a softmax, the last one of `passed`; false if there is none.
bool find_softmax(const StepGraph& graph, const Steps& steps, const Operator& scores, ScoreTerms* terms,
                  std::vector<size_t>* passed) {
  const int64_t count = num_elements(scores.role().shape);
  for (int tensor = scores.output();;) {
    const std::vector<size_t>& readers = graph.readers(tensor);
    if (readers.size() != 1 || steps[readers[0]] == nullptr) return false;
    const Operator& step = *steps[readers[0]];
    const Role& role = step.role();
    passed->push_back(readers[0]);
    if (role.kind == Role::kSoftmax) return true;
    if (role.kind == Role::kAdd) {
      if (terms->adds() || num_elements(role.shape) != count || !take_addend(step, tensor, terms)) return false;
    } else if (role.kind == Role::kMultiply) {
      const bool is_factor = role.constant != nullptr && num_elements(role.constant_shape) == 1 && *role.constant > 0;
      if (terms->adds() || !is_factor) return false;
      terms->factor *= *role.constant;
    } else if (role.kind != Role::kReshapeOfMatrices) {
      return false;
    }
    tensor = step.output();
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
    if (!find_softmax(graph, *steps, *scores, &terms, &passed)) continue;
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

}  // namespace nq
