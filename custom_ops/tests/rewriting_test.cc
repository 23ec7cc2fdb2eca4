#include "operators/rewriting.h"

#include <random>
#include <string>

#include "check.h"
#include "kernels/kernels.h"
#include "layers/float_finish.h"
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

  bool absorb_function(nq::ElementwiseKernel::Floats::Unary, int output) override {
    if (does_ != Does::kAbsorbs) return false;
    set_output(output);
    work_ += " with a function";
    return true;
  }

  bool takes_range() const override { return does_ == Does::kAbsorbs; }
  void use_range(const nq::ResultRange* range) override {
    work_ += " with " + std::to_string(static_cast<int>(range->get().max)) + "'s range";
  }
  const nq::ResultRange* tell_range() override {
    range_.add({0, static_cast<float>(output())});
    return does_ == Does::kAbsorbs ? &range_ : nullptr;
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
  nq::ResultRange range_;
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

TEST(functions_of_floats_go_to_the_layer_before_them) {
  using nq::Role;
  nq::Kernels kernels;
  CHECK_OK(nq::select_kernels("scalar", &kernels));
  const auto& floats = kernels.elementwise->floats;
  const auto step = [](Role role, std::vector<int> inputs, int output, std::string work) {
    auto made = named(role.kind == Role::kFloats ? Does::kAbsorbs : Does::kNothing, std::move(inputs), output, work);
    made->set_role(std::move(role));
    return made;
  };
  const auto function = [&](auto unary, int input, int output) {
    Role role = {Role::kFunction};
    role.function = unary;
    return step(role, {input}, output, "function");
  };
  const auto after = [&](const Outputs& outputs, bool has_product, bool turned) {
    const std::vector<int> factors = turned ? std::vector{2, 1} : std::vector{1, 2};
    Steps steps = steps_of(step({Role::kFloats}, {0}, 1, "conv"), function(floats.logistic, 1, 2),
                           step({has_product ? Role::kMultiply : Role::kAdd}, factors, 3, "product"),
                           step({Role::kFloats}, {3}, 4, "conv"), function(floats.gelu, 4, 5));
    nq::fuse_functions(outputs, kernels, &steps);
    std::string text;
    for (const auto& each : steps) {
      const auto* own = dynamic_cast<const Named*>(each.get());
      text += own == nullptr ? "swish\n" : own->text() + "\n";
    }
    return text;
  };
  CHECK_EQ(std::string("conv with a function: 0 -> 3\nconv with a function: 3 -> 5\n"), after({5}, true, false));
  CHECK_EQ(std::string("conv with a function: 0 -> 3\nconv with a function: 3 -> 5\n"), after({5, 3}, true, true));
  CHECK_EQ(std::string("conv: 0 -> 1\nswish\nconv with a function: 3 -> 5\n"), after({5, 1}, true, false));
  const std::string apart = "conv: 0 -> 1\nfunction: 1 -> 2\nproduct: 1 2 -> 3\n";
  CHECK_EQ(apart + "conv with a function: 3 -> 5\n", after({5}, false, false));
  CHECK_EQ(apart + "conv: 3 -> 4\nfunction: 4 -> 5\n", after({5, 4, 2}, true, false));
}

TEST(ranges_are_told_by_the_layer_that_writes) {
  Steps steps = steps_of(named(Does::kAbsorbs, {0}, 1, "conv"), named(Does::kAbsorbs, {1}, 2, "conv"),
                         named(Does::kNothing, {2}, 3, "pool"), named(Does::kAbsorbs, {3}, 4, "conv"),
                         named(Does::kAbsorbs, {1}, 5, "conv"));
  nq::share_ranges(&steps);
  CHECK_EQ(std::string("conv: 0 -> 1\nconv with 1's range: 1 -> 2\npool: 2 -> 3\nconv: 3 -> 4\n"
                       "conv with 1's range: 1 -> 5\n"),
           text_of(steps));
}

// Rows that were quantized lie where the next layer puts its own.
TEST(rows_are_quantized_once_for_neighbours_that_read_them) {
  using nq::Role;
  const auto layer = [](Role::Kind kind, int input, int output, std::string work, int row = 64, int group = 0) {
    auto step = named(Does::kNothing, {input}, output, std::move(work));
    Role role;
    role.kind = kind;
    role.row = row;
    role.group = group;
    step->set_role(role);
    return step;
  };
  Steps steps = steps_of(layer(Role::kDynamicRows, 0, 1, "query"), layer(Role::kDynamicRows, 0, 2, "key"),
                         layer(Role::kOther, 2, 3, "table"), layer(Role::kDynamicRows, 0, 4, "value"),
                         layer(Role::kDynamicRows, 1, 5, "other rows"), layer(Role::kDynamicRows, 0, 6, "late"),
                         layer(Role::kDynamicOthers, 0, 7, "by images"), layer(Role::kDynamicRows, 0, 8, "after it"));
  nq::share_quantization(&steps);
  CHECK_EQ(std::string("query: 0 -> 1\nkey reuses rows: 0 -> 2\ntable: 2 -> 3\nvalue reuses rows: 0 -> 4\n"
                       "other rows: 1 -> 5\nlate: 0 -> 6\nby images: 0 -> 7\nafter it: 0 -> 8\n"),
           text_of(steps));
  Steps groups = steps_of(layer(Role::kDynamicRows, 0, 1, "rows"), layer(Role::kDynamicRows, 0, 2, "gate", 64, 32),
                          layer(Role::kDynamicRows, 0, 3, "up", 64, 32), layer(Role::kDynamicRows, 0, 4, "two", 64, 64),
                          layer(Role::kDynamicRows, 0, 5, "shorter", 32, 32),
                          layer(Role::kDynamicRows, 0, 6, "row", 32), layer(Role::kDynamicRows, 0, 7, "longer", 64));
  nq::share_quantization(&groups);
  CHECK_EQ(std::string("rows: 0 -> 1\ngate: 0 -> 2\nup reuses rows: 0 -> 3\ntwo: 0 -> 4\nshorter: 0 -> 5\nrow: 0 -> 6\n"
                       "longer: 0 -> 7\n"),
           text_of(groups));
}

// x / sqrt(mean square + epsilon), by gamma before or after x comes in; not where others read the root,
// or where the mean is of several axes.
TEST(an_rms_norm_becomes_one_step) {
  const float epsilon = 1e-3f, gamma[] = {1, 2, 3};
  using nq::Role;
  const auto step = [](Role role, std::vector<int> inputs, int output) {
    auto made = named(Does::kNothing, std::move(inputs), output, "step");
    made->set_role(std::move(role));
    return made;
  };
  const auto constant = [](Role::Kind kind, const float* values, int32_t count) {
    Role role = {kind};
    role.constant = values;
    role.constant_shape = {count};
    return role;
  };
  Role mean = {Role::kMeanOfRows};
  mean.row = 3;
  struct Case {
    bool gamma_first, root_is_read;
    int32_t axes;
  };
  for (const auto& [gamma_first, root_is_read, axes] :
       {Case{false, false, 1}, Case{false, true, 1}, Case{true, false, 1}, Case{true, true, 1}, Case{true, false, 2}}) {
    mean.axes = axes;
    Steps steps = steps_of(step({Role::kSquare}, {0}, 1), step(mean, {1}, 2),
                           step(constant(Role::kAdd, &epsilon, 1), {2}, 3), step({Role::kInverseRoot}, {3}, 4));
    Role product = {Role::kMultiply};
    if (gamma_first) {
      steps.push_back(step(constant(Role::kMultiply, gamma, 3), {4}, 5));
      steps.push_back(step(product, {0, 5}, 6));
    } else {
      steps.push_back(step(product, {4, 0}, 5));
      steps.push_back(step(constant(Role::kMultiply, gamma, 3), {5}, 6));
    }
    nq::Kernels kernels;
    CHECK_OK(nq::select_kernels("scalar", &kernels));
    nq::fuse_rms_normalizations(root_is_read ? Outputs{4, 6} : Outputs{6}, kernels, &steps);
    const bool fuses = !root_is_read && axes == 1;
    CHECK_EQ(size_t{fuses ? 1u : 6u}, steps.size());
    CHECK_EQ(6, steps.back()->output());
    if (fuses) {
      CHECK(steps[0]->inputs() == std::vector{0});
    }
  }
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
