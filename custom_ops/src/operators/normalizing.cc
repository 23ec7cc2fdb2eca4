// Layer normalization, which frameworks write in operators of one step each.
#include <algorithm>
#include <cmath>

#include "operators/makers.h"
#include "operators/pattern.h"

namespace nq {
namespace {

// Where several axes are normalized together: floats that are summed apart, so that threads share them out and the
// order is one for any number of threads.
constexpr int64_t kSummed = 1 << 14;

// (x - mean) / sqrt(variance + epsilon) * gamma + beta, of the last axes of x; gamma and beta, along the last one, may
// be null.
struct Normalization {
  int input = -1, output = -1;
  float epsilon = 0;
  const float *gamma = nullptr, *beta = nullptr;
  int32_t axes = 0, row = 0;  // the last axis has `row` elements
};

class NormalizationOperator : public Operator {
 public:
  NormalizationOperator(const Normalization& normalization, const ElementwiseKernel& kernel)
      : Operator({normalization.input}, normalization.output, sizeof(float)),
        normalization_(normalization),
        kernel_(kernel) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    *output = shapes.at(inputs()[0]);
    const int32_t row = normalization_.row, axes = normalization_.axes;
    if (static_cast<int32_t>(output->size()) < axes || output->back() != row || row < 1) {
      return error(NQ_INVALID_MODEL, "a tensor to normalize has other rows than the model says; expected %d elements",
                   row);
    }
    together_ = num_elements(Shape(output->end() - axes, output->end()));
    groups_ = together_ == 0 ? 0 : num_elements(*output) / together_;
    sums_.resize(static_cast<size_t>((together_ + kSummed - 1) / kSummed));
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const float* in = input<float>(tensors, 0);
    float* out = output<float>(tensors);
    if (normalization_.axes > 1) {
      for (int64_t i = 0; i < groups_; ++i) normalize_image(in + i * together_, out + i * together_, threads);
      return;
    }
    const int64_t row = normalization_.row;
    share(threads, groups_, row, [&](Range rows) {
      for (int64_t i = rows.begin; i < rows.end; ++i) normalize(in + i * row, out + i * row);
    });
  }

 private:
  using Operator::output;

  void normalize(const float* in, float* out) const {
    const auto count = static_cast<size_t>(normalization_.row);
    kernel_.floats.normalize(in, count, normalization_.epsilon, normalization_.gamma, normalization_.beta, out);
  }

  void normalize_image(const float* in, float* out, ThreadPool* threads) {
    const ElementwiseKernel::Floats& floats = kernel_.floats;
    const auto size = static_cast<float>(together_);
    const float mean = sum(threads, [&](int64_t first, size_t count) { return floats.sum(in + first, count); }) / size;
    const auto squares = [&](int64_t first, size_t count) { return floats.sum_squares(in + first, count, mean); };
    const float factor = 1.0f / std::sqrt(sum(threads, squares) / size + normalization_.epsilon);
    const NormTerms terms = {mean, factor, normalization_.gamma, normalization_.beta};
    const int64_t row = normalization_.row;
    share(threads, together_ / row, row, [&](Range rows) {
      floats.apply_norm(in + rows.begin * row, static_cast<size_t>(rows.end - rows.begin), static_cast<size_t>(row),
                        terms, out + rows.begin * row);
    });
  }

  template <typename Part>
  float sum(ThreadPool* threads, const Part& part) {
    share(threads, static_cast<int64_t>(sums_.size()), kSummed, [&](Range parts) {
      for (int64_t i = parts.begin; i < parts.end; ++i) {
        const int64_t first = i * kSummed;
        sums_[static_cast<size_t>(i)] = part(first, static_cast<size_t>(std::min(kSummed, together_ - first)));
      }
    });
    return kernel_.floats.sum(sums_.data(), sums_.size());
  }

  Normalization normalization_;
  const ElementwiseKernel& kernel_;
  int64_t groups_ = 0, together_ = 0;  // so many floats are normalized together
  std::vector<float> sums_;
};

class Matcher : private PatternMatcher {
 public:
  using PatternMatcher::PatternMatcher;

  // What begins with the mean at that place; false if it is no normalization.
  bool match(size_t mean, Normalization* found, std::vector<size_t>* steps) const {
    const Operator& first = step(mean);
    if (first.role().kind != Role::kMeanOfRows) return false;
    *found = {first.inputs()[0], -1, 0, nullptr, nullptr, first.role().axes, first.role().row};
    *steps = {mean};
    const int x = found->input, m = first.output();
    size_t squares = kNone, other = kNone;  // who read the mean
    for (const size_t reader : graph().readers(m)) {
      (is(reader, Role::kSquaredDifference, {x, m}) ? squares : other) = reader;
    }
    if (squares == kNone || other == kNone || graph().readers(m).size() != 2) return false;
    steps->push_back(squares);
    const size_t variance = next(squares, Role::kMeanOfRows, steps), sum = next(variance, Role::kAdd, steps);
    const size_t root = next(sum, Role::kInverseRoot, steps);
    if (root == kNone || !is_vector(role(sum), 1) || role(variance).axes != found->axes) return false;
    found->epsilon = *role(sum).constant;
    return centred(other, root, x, m, found, steps) || in_two_products(other, root, x, m, found, steps);
  }

 private:
  // (x - m) * root, then * gamma + beta
  bool centred(size_t difference, size_t root, int x, int m, Normalization* found, std::vector<size_t>* steps) const {
    if (!is(difference, Role::kSubtract, {x, m})) return false;
    const size_t product = graph().only_reader(output(difference), Role::kMultiply);
    if (!is(product, Role::kMultiply, {output(difference), output(root)})) return false;
    if (graph().readers(output(root)).size() != 1) return false;
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
    for (const size_t reader : graph().readers(output(factor))) {
      (is(reader, Role::kMultiply, {x, output(factor)}) ? of_x : of_mean) = reader;
    }
    if (of_x == kNone || graph().readers(output(factor)).size() != 2) return false;
    if (!is(of_mean, Role::kMultiply, {output(negated), output(factor)})) return false;
    if (graph().only_reader(output(negated), Role::kMultiply) != of_mean) return false;
    steps->insert(steps->end(), {negated, of_x, of_mean});
    const size_t moved = next_vector(of_mean, Role::kAdd, found->row, &found->beta, steps);
    const size_t sum = graph().only_reader(output(moved), Role::kAdd);
    if (!is(sum, Role::kAdd, {output(of_x), output(moved)})) return false;
    if (graph().only_reader(output(of_x), Role::kAdd) != sum) return false;
    steps->push_back(sum);
    found->output = output(sum);
    return true;
  }
};

}  // namespace

void fuse_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  fuse_matches<Normalization, NormalizationOperator, Matcher>(outputs, kernels, steps);
}

}  // namespace nq
