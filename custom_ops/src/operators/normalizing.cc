// Layer normalization, which frameworks write in operators of one step each.
#include "operators/makers.h"
#include "operators/step_graph.h"

namespace nq {
namespace {

constexpr size_t kNone = StepGraph::kNone;

// (x - mean) / sqrt(variance + epsilon) * gamma + beta, of the rows of x; gamma and beta may be null.
struct Normalization {
  int input = -1, output = -1;
  float epsilon = 0;
  const float *gamma = nullptr, *beta = nullptr;
  int32_t row = 0;
};

class NormalizationOperator : public Operator {
 public:
  NormalizationOperator(const Normalization& normalization, const ElementwiseKernel& kernel)
      : Operator({normalization.input}, normalization.output, sizeof(float)),
        normalization_(normalization),
        kernel_(kernel) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    *output = shapes.at(inputs()[0]);
    const int32_t row = normalization_.row;
    if (output->empty() || output->back() != row || row < 1) {
      return error(NQ_INVALID_MODEL, "a tensor to normalize has other rows than the model says; expected %d elements",
                   row);
    }
    rows_ = num_elements(*output) / row;
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const float* in = input<float>(tensors, 0);
    float* out = output<float>(tensors);
    const int64_t row = normalization_.row;
    share(threads, rows_, row, [&](Range rows) {
      for (int64_t i = rows.begin; i < rows.end; ++i) normalize(in + i * row, out + i * row);
    });
  }

 private:
  using Operator::output;

  void normalize(const float* in, float* out) const {
    const auto count = static_cast<size_t>(normalization_.row);
    kernel_.floats.normalize(in, count, normalization_.epsilon, normalization_.gamma, normalization_.beta, out);
  }

  Normalization normalization_;
  const ElementwiseKernel& kernel_;
  int64_t rows_ = 0;
};

class Matcher {
 public:
  Matcher(const std::unordered_set<int>& outputs, Steps* steps) : graph_(outputs, *steps), steps_(*steps) {}

  // What begins with the mean at that place; false if it is no normalization. `steps` gets all that it consists of, the
  // last one last.
  bool match(size_t mean, Normalization* found, std::vector<size_t>* steps) const {
    const Operator& first = *steps_[mean];
    if (first.role().kind != Role::kMeanOfRows) return false;
    *found = {first.inputs()[0], -1, 0, nullptr, nullptr, first.role().row};
    *steps = {mean};
    const int x = found->input, m = first.output();
    size_t squares = kNone, other = kNone;  // who read the mean
    for (const size_t reader : graph_.readers(m)) {
      (is(reader, Role::kSquaredDifference, {x, m}) ? squares : other) = reader;
    }
    if (squares == kNone || other == kNone || graph_.readers(m).size() != 2) return false;
    steps->push_back(squares);
    const size_t variance = next(squares, Role::kMeanOfRows, steps), sum = next(variance, Role::kAdd, steps);
    const size_t root = next(sum, Role::kInverseRoot, steps);
    if (root == kNone || !is_vector(role(sum), 1)) return false;
    found->epsilon = *role(sum).constant;
    return centred(other, root, x, m, found, steps) || in_two_products(other, root, x, m, found, steps);
  }

 private:
  const Role& role(size_t step) const { return steps_[step]->role(); }
  int output(size_t step) const { return steps_[step]->output(); }

  // A constant of so many elements, all of them along the last axis.
  static bool is_vector(const Role& role, int32_t count) {
    return role.constant != nullptr && num_elements(role.constant_shape) == count &&
           (count == 1 || role.constant_shape.back() == count);
  }

  bool is(size_t step, Role::Kind kind, const std::vector<int>& inputs) const {
    if (step == kNone || steps_[step] == nullptr || role(step).kind != kind) return false;
    const std::vector<int>& own = steps_[step]->inputs();
    const bool turns = kind != Role::kSubtract && own.size() == 2;
    return own == inputs || (turns && inputs.size() == 2 && own[0] == inputs[1] && own[1] == inputs[0]);
  }

  // The only reader of what a step writes, if it is of that kind; goes to `steps`.
  size_t next(size_t step, Role::Kind kind, std::vector<size_t>* steps) const {
    const size_t reader = step == kNone ? kNone : graph_.only_reader(output(step), kind);
    if (reader != kNone) steps->push_back(reader);
    return reader;
  }

  // The same with a constant of a row, which goes to `constant`; the step itself if it has no such reader.
  size_t next_vector(size_t step, Role::Kind kind, int32_t row, const float** constant,
                     std::vector<size_t>* steps) const {
    const size_t reader = graph_.only_reader(output(step), kind);
    if (reader == kNone || !is_vector(role(reader), row)) return step;
    *constant = role(reader).constant;
    steps->push_back(reader);
    return reader;
  }

  // (x - m) * root, then * gamma + beta
  bool centred(size_t difference, size_t root, int x, int m, Normalization* found, std::vector<size_t>* steps) const {
    if (!is(difference, Role::kSubtract, {x, m})) return false;
    const size_t product = graph_.only_reader(output(difference), Role::kMultiply);
    if (!is(product, Role::kMultiply, {output(difference), output(root)})) return false;
    if (graph_.readers(output(root)).size() != 1) return false;
    steps->insert(steps->end(), {difference, product});
    const size_t scaled = next_vector(product, Role::kMultiply, found->row, &found->gamma, steps);
    found->output = output(next_vector(scaled, Role::kAdd, found->row, &found->beta, steps));
    return true;
  }

  // x * factor + (-m * factor + beta), where factor is root * gamma: Keras' own.
  bool in_two_products(size_t negated, size_t root, int x, int m, Normalization* found,
                       std::vector<size_t>* steps) const {
    if (!is(negated, Role::kNegate, {m})) return false;
    const size_t factor = next_vector(root, Role::kMultiply, found->row, &found->gamma, steps);
    size_t of_x = kNone, of_mean = kNone;
    for (const size_t reader : graph_.readers(output(factor))) {
      (is(reader, Role::kMultiply, {x, output(factor)}) ? of_x : of_mean) = reader;
    }
    if (of_x == kNone || graph_.readers(output(factor)).size() != 2) return false;
    if (!is(of_mean, Role::kMultiply, {output(negated), output(factor)})) return false;
    if (graph_.only_reader(output(negated), Role::kMultiply) != of_mean) return false;
    steps->insert(steps->end(), {negated, of_x, of_mean});
    const size_t moved = next_vector(of_mean, Role::kAdd, found->row, &found->beta, steps);
    const size_t sum = graph_.only_reader(output(moved), Role::kAdd);
    if (!is(sum, Role::kAdd, {output(of_x), output(moved)})) return false;
    if (graph_.only_reader(output(of_x), Role::kAdd) != sum) return false;
    steps->push_back(sum);
    found->output = output(sum);
    return true;
  }

  StepGraph graph_;
  const Steps& steps_;
};

}  // namespace

void fuse_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  const Matcher matcher(outputs, steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    Normalization found;
    std::vector<size_t> merged;
    if ((*steps)[i] == nullptr || !matcher.match(i, &found, &merged)) continue;
    for (const size_t position : merged) (*steps)[position] = nullptr;
    (*steps)[merged.back()] = std::make_unique<NormalizationOperator>(found, *kernels.elementwise);
  }
  drop_merged(steps);
}

}  // namespace nq
