#include "operators/rewriting.h"

#include <algorithm>
#include <unordered_map>

namespace nq {
namespace {

constexpr size_t kNone = ~size_t{0};

// Which step reads each tensor, kept up to date while steps change.
class Readers {
 public:
  Readers(const std::unordered_set<int>& outputs, const Steps& steps) : outputs_(outputs) {
    for (size_t i = 0; i < steps.size(); ++i) add(*steps[i], i);
  }

  void add(const Operator& step, size_t position) {
    for (const int input : step.inputs()) {
      ++uses_[input].count;
      uses_[input].sum += position;
    }
  }

  void remove(const Operator& step, size_t position) {
    for (const int input : step.inputs()) {
      --uses_[input].count;
      uses_[input].sum -= position;
    }
  }

  // The step; kNone if there is another, or none, or someone outside reads it.
  size_t only_reader(int tensor) const {
    const auto found = uses_.find(tensor);
    return found == uses_.end() || found->second.count != 1 || outputs_.count(tensor) != 0 ? kNone : found->second.sum;
  }

 private:
  struct Uses {
    size_t count = 0, sum = 0;  // of the positions: with one use, the step's
  };

  const std::unordered_set<int>& outputs_;
  std::unordered_map<int, Uses> uses_;
};

// Calls merge(i, reader) for each step that `merges` and that one other step alone reads, in order; true if the reader
// does its work now.
template <typename Merges, typename Merge>
void merge_steps(const std::unordered_set<int>& outputs, Steps* steps, const Merges& merges, const Merge& merge) {
  Readers readers(outputs, *steps);
  for (size_t i = 0; i < steps->size(); ++i) {
    std::unique_ptr<Operator>& step = (*steps)[i];
    if (!merges(*step)) continue;
    const size_t reader = readers.only_reader(step->output());
    if (reader == kNone) continue;
    readers.remove(*(*steps)[reader], reader);
    if (merge(*step, &(*steps)[reader])) {
      readers.remove(*step, i);
      step = nullptr;
    }
    readers.add(*(*steps)[reader], reader);
  }
  steps->erase(std::remove(steps->begin(), steps->end(), nullptr), steps->end());
}

}  // namespace

void absorb_paddings(const std::unordered_set<int>& outputs, Steps* steps) {
  merge_steps(
      outputs, steps, [](const Operator& step) { return step.padding() != nullptr; },
      [](const Operator& step, std::unique_ptr<Operator>* reader) {
        return (*reader)->absorb_padding(*step.padding(), step.inputs()[0]);
      });
}

void fold_tables(const std::unordered_set<int>& outputs, Steps* steps) {
  merge_steps(
      outputs, steps, [](const Operator& step) { return step.table() != nullptr; },
      [](const Operator& step, std::unique_ptr<Operator>* reader) {
        std::unique_ptr<Operator> folded = (*reader)->fold_table(*step.table(), step.inputs()[0], step.output());
        if (folded == nullptr) return false;
        *reader = std::move(folded);
        return true;
      });
}

void share_quantization(Steps* steps) {
  const Operator* last = nullptr;
  for (const auto& step : *steps) {
    const Role::Kind kind = step->role().kind;
    if (kind != Role::kDynamicRows && kind != Role::kDynamicOthers) continue;
    const bool same = last != nullptr && kind == Role::kDynamicRows && last->role().kind == Role::kDynamicRows &&
                      last->inputs() == step->inputs();
    if (same) step->reuse_rows();
    last = step.get();
  }
}

}  // namespace nq
