// Patterns of steps that become one operator.
#pragma once

#include "operators/step_graph.h"

namespace nq {

// What matchers of such a pattern ask of steps. A pattern's steps go to `merged` as they are found.
class PatternMatcher {
 public:
  PatternMatcher(const std::unordered_set<int>& outputs, const Steps& steps) : graph_(outputs, steps), steps_(steps) {}

 protected:
  static constexpr size_t kNone = StepGraph::kNone;

  const StepGraph& graph() const { return graph_; }
  const Operator& step(size_t index) const { return *steps_[index]; }
  const Role& role(size_t index) const { return step(index).role(); }
  int output(size_t index) const { return step(index).output(); }

  // A constant of so many elements, all of them along the last axis.
  static bool is_vector(const Role& role, int32_t count) {
    return role.constant != nullptr && num_elements(role.constant_shape) == count &&
           (count == 1 || role.constant_shape.back() == count);
  }

  bool is(size_t index, Role::Kind kind, const std::vector<int>& inputs) const {
    if (index == kNone || steps_[index] == nullptr || role(index).kind != kind) return false;
    const std::vector<int>& own = step(index).inputs();
    const bool turns = kind != Role::kSubtract && own.size() == 2;
    return own == inputs || (turns && inputs.size() == 2 && own[0] == inputs[1] && own[1] == inputs[0]);
  }

  // The only reader of what a step writes, if it is of that kind.
  size_t next(size_t index, Role::Kind kind, std::vector<size_t>* merged) const {
    const size_t reader = index == kNone ? kNone : graph_.only_reader(output(index), kind);
    if (reader != kNone) merged->push_back(reader);
    return reader;
  }

  // The same with a constant of a row, which goes to `constant`; the step itself if it has no such reader.
  size_t next_vector(size_t index, Role::Kind kind, int32_t row, const float** constant,
                     std::vector<size_t>* merged) const {
    const size_t reader = graph_.only_reader(output(index), kind);
    if (reader == kNone || !is_vector(role(reader), row)) return index;
    *constant = role(reader).constant;
    merged->push_back(reader);
    return reader;
  }

 private:
  StepGraph graph_;
  const Steps& steps_;
};

// Puts an operator in the place of the last step of every match. `Matcher` has match(size_t first, Found*,
// std::vector<size_t>* merged), which gives the steps of a match that begins with `first`, the last one last.
template <typename Found, typename Fused, typename Matcher>
void fuse_matches(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  const Matcher matcher(outputs, *steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    Found found;
    std::vector<size_t> merged;
    if ((*steps)[i] == nullptr || !matcher.match(i, &found, &merged)) continue;
    for (const size_t position : merged) (*steps)[position] = nullptr;
    (*steps)[merged.back()] = std::make_unique<Fused>(found, *kernels.elementwise);
  }
  drop_merged(steps);
}

}  // namespace nq
