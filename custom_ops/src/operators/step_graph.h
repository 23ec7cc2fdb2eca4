// Which steps write and read each tensor of a partition.
#pragma once

#include <unordered_map>

#include "operators/rewriting.h"

namespace nq {

class StepGraph {
 public:
  static constexpr size_t kNone = ~size_t{0};

  // `outputs`: the tensors that others than the steps read.
  StepGraph(const std::unordered_set<int>& outputs, const Steps& steps) : steps_(steps) {
    for (size_t i = 0; i < steps.size(); ++i) {
      writers_[steps[i]->output()] = i;
      for (const int input : steps[i]->inputs()) {
        if (outputs.count(input) == 0) readers_[input].push_back(i);
      }
    }
  }

  size_t writer(int tensor) const {
    const auto found = writers_.find(tensor);
    return found == writers_.end() ? kNone : found->second;
  }

  // Empty where others read it too.
  const std::vector<size_t>& readers(int tensor) const {
    static const std::vector<size_t> none;
    const auto found = readers_.find(tensor);
    return found == readers_.end() ? none : found->second;
  }

  // The only one, if it is of that kind.
  size_t only_reader(int tensor, Role::Kind kind) const {
    const std::vector<size_t>& all = readers(tensor);
    return all.size() == 1 && steps_[all[0]] != nullptr && steps_[all[0]]->role().kind == kind ? all[0] : kNone;
  }

 private:
  const Steps& steps_;
  std::unordered_map<int, size_t> writers_;
  std::unordered_map<int, std::vector<size_t>> readers_;
};

// Without the steps that others do now.
inline void drop_merged(Steps* steps) {
  Steps left;
  for (std::unique_ptr<Operator>& step : *steps) {
    if (step != nullptr) left.push_back(std::move(step));
  }
  *steps = std::move(left);
}

}  // namespace nq
