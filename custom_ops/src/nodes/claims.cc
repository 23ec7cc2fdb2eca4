#include "nodes/claims.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "nodes/graph.h"
#include "nodes/operator_names.h"
#include "operators/lookup_operator.h"
#include "operators/operator.h"
#include "operators/reader.h"
#include "operators/tensors.h"

namespace nq {
namespace {

// A graph with what has been decided about its nodes so far.
struct Decisions {
  std::vector<GraphNode> graph;
  NodesByTensor readers, writers;
  std::vector<bool> fused;  // of each node
  std::vector<std::pair<int, int>> fused_weights;
  std::vector<std::string> reasons;  // of each node: why it is not fused
};

// The readers of a nested operator's outputs, as far as it matters whether there is one: at most two of each output.
std::vector<size_t> first_readers(const Decisions& decisions, const TfLiteNode& nested) {
  std::vector<size_t> first;
  for (int i = 0; i < nested.outputs->size; ++i) {
    const auto found = decisions.readers.find(nested.outputs->data[i]);
    if (found == decisions.readers.end()) continue;
    const std::vector<size_t>& readers = found->second;
    first.insert(first.end(), readers.begin(),
                 readers.begin() + std::min<std::ptrdiff_t>(2, readers.end() - readers.begin()));
  }
  std::sort(first.begin(), first.end());
  first.erase(std::unique(first.begin(), first.end()), first.end());
  return first;
}

bool can_fuse(const TfLiteContext& context, const TfLiteNode& nested, const std::vector<size_t>& readers,
              const std::vector<GraphNode>& graph, std::string* reason) {
  const int num_outputs = nested.outputs->size;
  if (num_outputs < 1 || num_outputs > 2) return refuse(reason, "a nested operator that breaks the format");
  if (readers.empty()) return refuse(reason, "no operator reads the weight");
  if (readers.size() > 1) return refuse(reason, "several operators read the weight; one is supported");
  const GraphNode& entry = graph[readers[0]];
  const int weight = nested.outputs->data[0];
  if (is_lookup(*entry.registration)) {
    return can_look_up(context, *entry.node, *entry.registration, weight, reason);
  }
  Reader reader;
  return parse_reader(context, *entry.node, *entry.registration, weight,
                      num_outputs == 2 ? nested.outputs->data[1] : -1, &reader, reason);
}

// Takes nested operators in with their readers.
void fuse_weights(const TfLiteContext& context, Decisions* decisions) {
  const std::vector<GraphNode>& graph = decisions->graph;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) || is_start(graph[i])) continue;
    const std::vector<size_t> readers = first_readers(*decisions, *graph[i].node);
    if (!can_fuse(context, *graph[i].node, readers, graph, &decisions->reasons[i])) continue;
    decisions->fused[i] = decisions->fused[readers[0]] = true;
    decisions->fused_weights.emplace_back(graph[i].index, graph[readers[0]].index);
  }
}

// Whether each node is none of those that fuse_weights has taken in, and supported.
std::vector<bool> find_candidates(const TfLiteContext& context, const Kernels& kernels, Decisions* decisions) {
  const std::vector<GraphNode>& graph = decisions->graph;
  std::vector<bool> candidates(graph.size());
  for (size_t i = 0; i < graph.size(); ++i) {
    if (is_nested(graph[i]) || decisions->fused[i]) continue;
    std::string& reason = decisions->reasons[i];
    candidates[i] = is_neighbour(context, kernels, *graph[i].node, *graph[i].registration, &reason);
    if (candidates[i]) {
      reason = "no fused layer beside it";
    } else if (reason.empty()) {
      reason = "parameters without a kernel";
    }
  }
  return candidates;
}

// Takes in the candidates that touch what is fused already, until there are no more.
void add_neighbours(const std::vector<bool>& candidates, Decisions* decisions) {
  std::vector<size_t> added;  // whose tensors have not been followed yet
  for (size_t i = 0; i < decisions->fused.size(); ++i) {
    if (decisions->fused[i]) added.push_back(i);
  }
  // Every tensor is followed once each way: what it leads to is fused then, or will never be.
  const auto follow = [&](const TfLiteIntArray& tensors, NodesByTensor* nodes) {
    for (int k = 0; k < tensors.size; ++k) {
      const auto found = nodes->find(tensors.data[k]);
      if (found == nodes->end()) continue;
      for (const size_t i : found->second) {
        if (!candidates[i] || decisions->fused[i]) continue;
        decisions->fused[i] = true;
        added.push_back(i);
      }
      nodes->erase(found);
    }
  };
  NodesByTensor readers = decisions->readers, writers = decisions->writers;
  while (!added.empty()) {
    const TfLiteNode& node = *decisions->graph[added.back()].node;
    added.pop_back();
    follow(*node.outputs, &readers);
    follow(*node.inputs, &writers);
  }
}

std::string first_output(const TfLiteContext& context, const TfLiteNode& node) {
  const TfLiteTensor* output = node.outputs->size > 0 ? tensor_at(context, node.outputs->data[0]) : nullptr;
  return output == nullptr || output->name == nullptr ? "" : output->name;
}

// Nested operators are told of with their first readers, and stand where those run.
std::vector<OperatorPlace> places(const TfLiteContext& context, const Decisions& decisions) {
  const std::vector<GraphNode>& graph = decisions.graph;
  std::vector<std::vector<OperatorPlace>> by_position(graph.size());
  const auto add = [&](size_t at, size_t decided, nq_place unfused, std::optional<std::string> weight) {
    const bool fused = decisions.fused[decided];
    by_position[at].push_back({operator_name(*graph[at].registration), first_output(context, *graph[at].node),
                               std::move(weight), fused ? NQ_FUSED : unfused, fused ? "" : decisions.reasons[decided]});
  };
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) || is_start(graph[i])) continue;
    const std::vector<size_t> readers = first_readers(decisions, *graph[i].node);
    add(readers.empty() ? i : readers[0], i, NQ_UNPACKED, first_output(context, *graph[i].node));
  }
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) && by_position[i].empty()) add(i, i, NQ_RUNTIME, std::nullopt);
  }
  std::vector<OperatorPlace> ordered;
  for (std::vector<OperatorPlace>& here : by_position) {
    std::move(here.begin(), here.end(), std::back_inserter(ordered));
  }
  return ordered;
}

}  // namespace

bool plan_claims(TfLiteContext* context, const Kernels& kernels, const char* unfused, Claims* claims) {
  Decisions decisions;
  if (!read_graph(context, &decisions.graph)) return false;
  const std::vector<GraphNode>& graph = decisions.graph;
  decisions.readers = readers_by_tensor(graph);
  decisions.writers = writers_by_tensor(graph);
  decisions.fused.resize(graph.size());
  decisions.reasons.resize(graph.size(), unfused == nullptr ? "" : unfused);
  if (unfused == nullptr) {
    fuse_weights(*context, &decisions);
    add_neighbours(find_candidates(*context, kernels, &decisions), &decisions);
  }
  for (size_t i = 0; i < graph.size(); ++i) {
    if (decisions.fused[i]) {
      claims->fused.push_back(graph[i].index);
    } else if (is_nested(graph[i])) {
      claims->unpacked.push_back(graph[i].index);
    }
  }
  claims->operators = places(*context, decisions);
  claims->fused_weights = std::move(decisions.fused_weights);
  return true;
}

bool stay_together(TfLiteContext* context, const Claims& claims) {
  if (claims.fused.empty() || context->PreviewDelegatePartitioning == nullptr) return true;
  const NodeIndices nodes = node_indices(claims.fused);
  TfLiteDelegateParams* partitions = nullptr;
  int num_partitions = 0;
  if (context->PreviewDelegatePartitioning(context, nodes.get(), &partitions, &num_partitions) != kTfLiteOk)
    return true;
  std::unordered_map<int, int> partition_of;
  for (int i = 0; i < num_partitions; ++i) {
    const TfLiteIntArray& inside = *partitions[i].nodes_to_replace;
    for (int k = 0; k < inside.size; ++k) partition_of[inside.data[k]] = i;
  }
  return std::all_of(claims.fused_weights.begin(), claims.fused_weights.end(), [&](const std::pair<int, int>& weight) {
    return partition_of[weight.first] == partition_of[weight.second];
  });
}

}  // namespace nq
