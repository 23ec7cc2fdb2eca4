#include "nodes/shared_buffers.h"

#include <algorithm>
#include <unordered_map>

#include "nodes/graph.h"

namespace nq {
namespace {

// TFLite's builtin operators whose output may have their input's memory, as of 2.21.
constexpr int32_t kAdd = 0, kMul = 18, kReshape = 22, kSoftmax = 25, kSub = 41, kDiv = 42, kSqueeze = 43;
constexpr int32_t kExpandDims = 70, kDynamicUpdateSlice = 151, kBitcast = 159;

bool renames(int32_t code) { return code == kReshape || code == kSqueeze || code == kExpandDims || code == kBitcast; }

// How many of an operator's first inputs it may write over.
int num_overwritten(int32_t code) {
  if (code == kAdd || code == kMul || code == kSub || code == kDiv) return 2;
  return code == kSoftmax || code == kDynamicUpdateSlice ? 1 : 0;
}

// A tensor in the memory of an earlier one.
struct Renamed {
  int owner;
  bool is_read_between;  // whether others read a tensor between the two, of which the planner does not know here
  TfLiteRegistration* by;
};

class Planner {
 public:
  explicit Planner(const std::vector<GraphNode>& graph) {
    for (const GraphNode& entry : graph) {
      const TfLiteIntArray& inputs = *entry.node->inputs;
      for (int k = 0; k < inputs.size; ++k) ++readings_[inputs.data[k]];
    }
  }

  void follow(const GraphNode& entry) {
    const TfLiteNode& node = *entry.node;
    const int32_t code = entry.registration->builtin_code;
    for (int k = 0; k < node.outputs->size; ++k) {
      const int tensor = node.outputs->data[k];
      renamed_[tensor] = {tensor, false, nullptr};
    }
    if (entry.registration->custom_name != nullptr || node.outputs->size == 0) return;
    const int output = node.outputs->data[0];
    if (renames(code) && node.inputs->size > 0) rename(node.inputs->data[0], output, entry.registration);
    for (int k = 0; k < std::min(num_overwritten(code), node.inputs->size); ++k) {
      if (overwrite(node.inputs->data[k], output)) return;
    }
  }

 private:
  // Of what an operator before this one has computed; constants and inputs are not written over.
  Renamed* computed(int tensor) {
    const auto found = renamed_.find(tensor);
    return found == renamed_.end() ? nullptr : &found->second;
  }

  void rename(int input, int output, TfLiteRegistration* by) {
    const Renamed* in = computed(input);
    if (in == nullptr) return;
    const bool is_read = in->is_read_between || (in->owner != input && readings_[input] > 1);
    renamed_[output] = {in->owner, is_read, by};
  }

  bool overwrite(int input, int output) {
    Renamed* in = computed(input);
    if (in == nullptr || readings_[input] > 1 || readings_[in->owner] > 1) return false;
    if (in->is_read_between) {
      copy(in->by);
      *in = {input, false, nullptr};
    }
    renamed_[output] = {in->owner, false, nullptr};
    return true;
  }

  // Runtimes before 2.13 have no such field. Nor have they its value there: a reader follows the operator, so what is
  // read is a pointer of that node.
  static void copy(TfLiteRegistration* by) {
    if (by != nullptr && by->inplace_operator == (kTfLiteInplaceOpInput0Shared | kTfLiteInplaceOpDataUnmodified)) {
      by->inplace_operator = kTfLiteInplaceOpNone;
    }
  }

  std::unordered_map<int, int> readings_;  // of each tensor
  std::unordered_map<int, Renamed> renamed_;
};

}  // namespace

bool keep_buffers_apart(TfLiteContext* context) {
  std::vector<GraphNode> graph;
  if (!read_graph(context, &graph)) return false;
  Planner planner(graph);
  for (const GraphNode& entry : graph) planner.follow(entry);
  return true;
}

}  // namespace nq
