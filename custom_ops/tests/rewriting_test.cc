#include "operators/rewriting.h"

#include <random>
#include <string>

#include "check.h"
#include "kernels/kernels.h"
#include "layers/table.h"

namespace {

using nq::Steps;
using Outputs = std::unordered_set<int>;

const nq::ElementwiseKernel& elementwise() {
  nq::Kernels kernels;
  CHECK_OK(nq::select_kernels("scalar", &kernels));
  return *kernels.elementwise;
}

enum class Does { kPads, kMaps, kAbsorbs, kFolds, kNothing };

// An operator whose work is only named.
class Named : public nq::Operator {
 public:
  Named(Does does, std::vector<int> inputs, int output, std::string work)
      : Operator(std::move(inputs), output), work_(std::move(work)), does_(does), table_(elementwise()) {}

  nq::Status reshape(const nq::Shapes&, nq::Shape*) override { return {}; }
  void run(const nq::Pointers&, nq::ThreadPool*) override {}

  const nq::ImagePadding* padding() const override { return does_ == Does::kPads ? &padding_ : nullptr; }
  bool absorb_padding(const nq::ImagePadding&, int input) override {
    if (does_ != Does::kAbsorbs) return false;
    set_input(0, input);
    work_ += " padded";
    return true;
  }

  const nq::Table* table() const override { return does_ == Does::kMaps ? &table_ : nullptr; }
  std::unique_ptr<Operator> fold_table(const nq::Table&, int from, int to) const override {
    if (does_ != Does::kFolds || (inputs() != std::vector{from, to} && inputs() != std::vector{to, from})) return {};
    return std::make_unique<Named>(Does::kMaps, std::vector{from}, output(), work_ + " folded");
  }

  void reuse_rows() override { work_ += " reuses rows"; }

  std::string text() const {
    std::string text = work_ + ":";
    for (const int input : inputs()) text += " " + std::to_string(input);
    return text + " -> " + std::to_string(output());
  }

 private:
  std::string work_;
  Does does_;
  nq::ImagePadding padding_ = {1, 1, 1, 1, 0};
  nq::Table table_;
};

std::string text_of(const Steps& steps) {
  std::string text;
  for (const auto& step : steps) text += static_cast<const Named&>(*step).text() + "\n";
  return text;
}

std::unique_ptr<Named> named(Does does, std::vector<int> inputs, int output, std::string work) {
  return std::make_unique<Named>(does, std::move(inputs), output, std::move(work));
}

template <typename... Each>
Steps steps_of(Each... each) {
  Steps steps;
  (steps.push_back(std::move(each)), ...);
  return steps;
}

// By definition: whoever reads a tensor is looked for among all steps, every time.
size_t only_reader(const Steps& steps, const Outputs& outputs, int tensor) {
  size_t reader = 0, count = outputs.count(tensor) * 2;
  for (size_t i = 0; i < steps.size(); ++i) {
    for (const int input : steps[i]->inputs()) {
      if (input != tensor) continue;
      reader = i;
      ++count;
    }
  }
  return count == 1 ? reader : ~size_t{0};
}

void rewrite_naively(const Outputs& outputs, Steps* steps) {
  for (const bool folds : {false, true}) {
    for (size_t i = 0; i < steps->size();) {
      const nq::Operator& step = *(*steps)[i];
      const size_t reader = (folds ? step.table() != nullptr : step.padding() != nullptr)
                                ? only_reader(*steps, outputs, step.output())
                                : ~size_t{0};
      bool merged = false;
      if (reader != ~size_t{0} && !folds) {
        merged = (*steps)[reader]->absorb_padding(*step.padding(), step.inputs()[0]);
      } else if (reader != ~size_t{0}) {
        auto folded = (*steps)[reader]->fold_table(*step.table(), step.inputs()[0], step.output());
        merged = folded != nullptr;
        if (merged) (*steps)[reader] = std::move(folded);
      }
      if (merged) {
        steps->erase(steps->begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        ++i;
      }
    }
  }
}

void rewrite(const Outputs& outputs, Steps* steps) {
  nq::absorb_paddings(outputs, steps);
  nq::fold_tables(outputs, steps);
}

TEST(a_padding_goes_to_its_only_reader) {
  const auto after = [](const Outputs& outputs, bool read_twice) {
    Steps steps = steps_of(named(Does::kPads, {0}, 1, "pad"), named(Does::kAbsorbs, {1}, 2, "conv"),
                           named(Does::kNothing, {2, read_twice ? 1 : 2}, 3, "add"));
    rewrite(outputs, &steps);
    return text_of(steps);
  };
  CHECK_EQ(std::string("conv padded: 0 -> 2\nadd: 2 2 -> 3\n"), after({3}, false));
  CHECK_EQ(std::string("pad: 0 -> 1\nconv: 1 -> 2\nadd: 2 1 -> 3\n"), after({3}, true));
  CHECK_EQ(std::string("pad: 0 -> 1\nconv: 1 -> 2\nadd: 2 2 -> 3\n"), after({3, 1}, false));
}

TEST(tables_fold_one_into_the_next) {
  Steps steps = steps_of(named(Does::kMaps, {0}, 1, "logistic"), named(Does::kFolds, {0, 1}, 2, "mul"),
                         named(Does::kFolds, {2, 0}, 3, "add"), named(Does::kNothing, {3}, 4, "conv"));
  rewrite({4}, &steps);
  CHECK_EQ(std::string("add folded: 0 -> 3\nconv: 3 -> 4\n"), text_of(steps));
}

// Rows that were quantized lie where the next layer puts its own.
TEST(rows_are_quantized_once_for_neighbours_that_read_them) {
  using nq::Role;
  const auto layer = [](Role::Kind kind, int input, int output, std::string work) {
    auto step = named(Does::kNothing, {input}, output, std::move(work));
    step->set_role({kind});
    return step;
  };
  Steps steps = steps_of(layer(Role::kDynamicRows, 0, 1, "query"), layer(Role::kDynamicRows, 0, 2, "key"),
                         layer(Role::kOther, 2, 3, "table"), layer(Role::kDynamicRows, 0, 4, "value"),
                         layer(Role::kDynamicRows, 1, 5, "other rows"), layer(Role::kDynamicRows, 0, 6, "late"),
                         layer(Role::kDynamicOthers, 0, 7, "by groups"), layer(Role::kDynamicRows, 0, 8, "after it"));
  nq::share_quantization(&steps);
  CHECK_EQ(std::string("query: 0 -> 1\nkey reuses rows: 0 -> 2\ntable: 2 -> 3\nvalue reuses rows: 0 -> 4\n"
                       "other rows: 1 -> 5\nlate: 0 -> 6\nby groups: 0 -> 7\nafter it: 0 -> 8\n"),
           text_of(steps));
}

TEST(any_steps_are_rewritten_as_by_definition) {
  std::mt19937 random(1);
  int fewer = 0;
  for (int trial = 0; trial < 3000; ++trial) {
    Steps steps, naive;
    const int count = 1 + static_cast<int>(random() % 30);
    Outputs outputs = {count};
    for (int output = 1; output <= count; ++output) {
      const auto earlier = [&] { return std::max(0, output - 1 - static_cast<int>(random() % 2)); };
      const auto does = static_cast<Does>(random() % 5);
      std::vector<int> inputs = {earlier()};
      if (does == Does::kFolds || (does == Does::kNothing && random() % 2 == 0)) inputs.push_back(earlier());
      if (random() % 10 == 0) outputs.insert(output);
      const std::string work = "step " + std::to_string(output);
      steps.push_back(named(does, inputs, output, work));
      naive.push_back(named(does, inputs, output, work));
    }
    rewrite(outputs, &steps);
    rewrite_naively(outputs, &naive);
    CHECK_EQ(text_of(naive), text_of(steps));
    fewer += count - static_cast<int>(steps.size());
  }
  CHECK(fewer > 500);
}

}  // namespace
