// RMS normalization, which frameworks write in operators of one step each.
#include <limits>

#include "operators/makers.h"
#include "operators/step_graph.h"

namespace nq {
namespace {

constexpr size_t kNone = StepGraph::kNone;

// x / sqrt(mean square + epsilon) * gamma, of the rows of x; gamma may be null.
struct RmsNormalization {
  int input = -1, output = -1;
  float epsilon = 0;
  const float* gamma = nullptr;
  int32_t row = 0;
};

class RmsNormalizationOperator : public Operator {
 public:
  RmsNormalizationOperator(const RmsNormalization& normalization, const ElementwiseKernel& kernel)
      : Operator({normalization.input}, normalization.output, sizeof(float)),
        normalization_(normalization),
        floats_(kernel.floats) {}

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
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const auto count = static_cast<size_t>(normalization_.row);
    floats_.square(in, count, out);
    const float shifted = floats_.sum(out, count) / static_cast<float>(count) + normalization_.epsilon;
    float factor = 0;
    floats_.inverse_root(&shifted, 1, &factor);
    if (normalization_.gamma == nullptr) {
      floats_.multiply({in, &factor, 1, 0}, -kInfinity, kInfinity, count, out);
      return;
    }
    floats_.multiply({in, normalization_.gamma, 1, 1}, -kInfinity, kInfinity, count, out);
    floats_.scale(out, count, factor);
  }

  RmsNormalization normalization_;
  const ElementwiseKernel::Floats& floats_;
  int64_t rows_ = 0;
};

class Matcher {
 public:
  Matcher(const std::unordered_set<int>& outputs, const Steps& steps) : graph_(outputs, steps), steps_(steps) {}

  // What begins with the square at that place; false if it is no normalization. `merged` gets all that it consists of,
  // the last one last.
  bool match(size_t square, RmsNormalization* found, std::vector<size_t>* merged) const {
    if (role(square).kind != Role::kSquare) return false;
    *found = {steps_[square]->inputs()[0], -1, 0, nullptr, 0};
    *merged = {square};
    const size_t mean = next(square, Role::kMeanOfRows, merged), sum = next(mean, Role::kAdd, merged);
    const size_t root = next(sum, Role::kInverseRoot, merged);
    if (root == kNone || role(mean).axes != 1 || !is_vector(role(sum), 1)) return false;
    found->epsilon = *role(sum).constant;
    found->row = role(mean).row;
    const size_t factor = with_gamma(root, found, merged), product = next(factor, Role::kMultiply, merged);
    if (product == kNone || !multiplies(product, found->input, steps_[factor]->output())) return false;
    const size_t last = found->gamma == nullptr ? with_gamma(product, found, merged) : product;
    found->output = steps_[last]->output();
    return true;
  }

 private:
  const Role& role(size_t step) const { return steps_[step]->role(); }

  // A constant of so many elements, all of them along the last axis.
  static bool is_vector(const Role& role, int32_t count) {
    return role.constant != nullptr && num_elements(role.constant_shape) == count &&
           (count == 1 || role.constant_shape.back() == count);
  }

  // The only reader of what a step writes, if it is of that kind; goes to `merged`.
  size_t next(size_t step, Role::Kind kind, std::vector<size_t>* merged) const {
    const size_t reader = step == kNone ? kNone : graph_.only_reader(steps_[step]->output(), kind);
    if (reader != kNone) merged->push_back(reader);
    return reader;
  }

  // The only reader of what a step writes, if it multiplies that by a constant row; else the step.
  size_t with_gamma(size_t step, RmsNormalization* found, std::vector<size_t>* merged) const {
    const size_t reader = graph_.only_reader(steps_[step]->output(), Role::kMultiply);
    if (reader == kNone || !is_vector(role(reader), found->row)) return step;
    found->gamma = role(reader).constant;
    merged->push_back(reader);
    return reader;
  }

  bool multiplies(size_t step, int a, int b) const {
    const std::vector<int>& inputs = steps_[step]->inputs();
    return inputs == std::vector<int>{a, b} || inputs == std::vector<int>{b, a};
  }

  StepGraph graph_;
  const Steps& steps_;
};

}  // namespace

void fuse_rms_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  const Matcher matcher(outputs, *steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    RmsNormalization found;
    std::vector<size_t> merged;
    if ((*steps)[i] == nullptr || !matcher.match(i, &found, &merged)) continue;
    for (const size_t position : merged) (*steps)[position] = nullptr;
    (*steps)[merged.back()] = std::make_unique<RmsNormalizationOperator>(found, *kernels.elementwise);
  }
  drop_merged(steps);
}

}  // namespace nq
