// RMS normalization, which frameworks write in operators of one step each.
#include <limits>

#include "operators/makers.h"
#include "operators/pattern.h"

namespace nq {
namespace {

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

class Matcher : private PatternMatcher {
 public:
  using PatternMatcher::PatternMatcher;

  // What begins with the square at that place; false if it is no normalization.
  bool match(size_t square, RmsNormalization* found, std::vector<size_t>* merged) const {
    if (role(square).kind != Role::kSquare) return false;
    *found = {step(square).inputs()[0], -1, 0, nullptr, 0};
    *merged = {square};
    const size_t mean = next(square, Role::kMeanOfRows, merged), sum = next(mean, Role::kAdd, merged);
    const size_t root = next(sum, Role::kInverseRoot, merged);
    if (root == kNone || role(mean).axes != 1 || !is_vector(role(sum), 1)) return false;
    found->epsilon = *role(sum).constant;
    found->row = role(mean).row;
    const size_t factor = next_vector(root, Role::kMultiply, found->row, &found->gamma, merged);
    const size_t product = next(factor, Role::kMultiply, merged);
    if (!is(product, Role::kMultiply, {found->input, output(factor)})) return false;
    const bool has_gamma = found->gamma != nullptr;
    found->output =
        output(has_gamma ? product : next_vector(product, Role::kMultiply, found->row, &found->gamma, merged));
    return true;
  }
};

}  // namespace

void fuse_rms_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  fuse_matches<RmsNormalization, RmsNormalizationOperator, Matcher>(outputs, kernels, steps);
}

}  // namespace nq
