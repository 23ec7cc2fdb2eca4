#include "nodes/claims.h"

#include <map>
#include <set>
#include <string>

#include "format/option_block.h"
#include "nodes/operator_names.h"
#include "nq/format.h"
#include "operators/lookup_operator.h"
#include "operators/operator.h"
#include "operators/reader.h"
#include "operators/tensors.h"

namespace nq {
namespace {

bool contains(const TfLiteIntArray& indices, int tensor) {
  for (int i = 0; i < indices.size; ++i) {
    if (indices.data[i] == tensor) return true;
  }
  return false;
}

bool share_a_tensor(const TfLiteNode& writer, const TfLiteNode& reader) {
  for (int i = 0; i < writer.outputs->size; ++i) {
    if (contains(*reader.inputs, writer.outputs->data[i])) return true;
  }
  return false;
}

std::vector<size_t> readers_of(const std::vector<GraphNode>& graph, const TfLiteNode& nested) {
  std::vector<size_t> readers;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (share_a_tensor(nested, *graph[i].node)) readers.push_back(i);
  }
  return readers;
}

bool can_fuse(const TfLiteContext& context, const std::vector<GraphNode>& graph, const TfLiteNode& nested,
              std::string* reason) {
  const int num_outputs = nested.outputs->size;
  if (num_outputs < 1 || num_outputs > 2) return refuse(reason, "a nested operator that breaks the format");
  const std::vector<size_t> readers = readers_of(graph, nested);
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

// A graph with what has been decided about its nodes so far.
struct Decisions {
  std::vector<GraphNode> graph;
  std::set<size_t> fused;
  std::vector<std::string> reasons;  // of each node: why it is not fused
};

// Takes nested operators in with their readers.
void fuse_weights(const TfLiteContext& context, Decisions* decisions) {
  const std::vector<GraphNode>& graph = decisions->graph;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) || is_start(graph[i]) || !can_fuse(context, graph, *graph[i].node, &decisions->reasons[i]))
      continue;
    decisions->fused.insert({i, readers_of(graph, *graph[i].node)[0]});
  }
}

// Takes in the supported operators that touch what is fused already, until there are no more.
void add_neighbours(const TfLiteContext& context, const Kernels& kernels, Decisions* decisions) {
  const std::vector<GraphNode>& graph = decisions->graph;
  std::set<size_t> candidates;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (is_nested(graph[i]) || decisions->fused.count(i) != 0) continue;
    std::string& reason = decisions->reasons[i];
    if (is_neighbour(context, kernels, *graph[i].node, *graph[i].registration, &reason)) {
      candidates.insert(i);
      reason = "no fused layer beside it";
    } else if (reason.empty()) {
      reason = "parameters without a kernel";
    }
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const size_t i : candidates) {
      if (decisions->fused.count(i) != 0) continue;
      for (const size_t other : decisions->fused) {
        const TfLiteNode &a = *graph[i].node, &b = *graph[other].node;
        if (!share_a_tensor(a, b) && !share_a_tensor(b, a)) continue;
        grown = decisions->fused.insert(i).second;
        break;
      }
    }
  }
}

std::string first_output(const TfLiteContext& context, const TfLiteNode& node) {
  const TfLiteTensor* output = node.outputs->size > 0 ? tensor_at(context, node.outputs->data[0]) : nullptr;
  return output == nullptr || output->name == nullptr ? "" : output->name;
}

// Nested operators are told of with their first readers, and stand where those run.
std::vector<OperatorPlace> places(const TfLiteContext& context, const Decisions& decisions) {
  const std::vector<GraphNode>& graph = decisions.graph;
  std::multimap<size_t, OperatorPlace> by_position;
  const auto add = [&](size_t at, size_t decided, nq_place unfused, std::optional<std::string> weight) {
    const bool fused = decisions.fused.count(decided) != 0;
    by_position.insert({at,
                        {operator_name(*graph[at].registration), first_output(context, *graph[at].node),
                         std::move(weight), fused ? NQ_FUSED : unfused, fused ? "" : decisions.reasons[decided]}});
  };
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) || is_start(graph[i])) continue;
    const std::vector<size_t> readers = readers_of(graph, *graph[i].node);
    add(readers.empty() ? i : readers[0], i, NQ_UNPACKED, first_output(context, *graph[i].node));
  }
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i]) && by_position.count(i) == 0) add(i, i, NQ_RUNTIME, std::nullopt);
  }
  std::vector<OperatorPlace> ordered;
  for (auto& [at, place] : by_position) ordered.push_back(std::move(place));
  return ordered;
}

}  // namespace

bool is_nested(const GraphNode& entry) {
  return entry.node->delegate == nullptr && entry.registration->custom_name != nullptr &&
         std::strcmp(entry.registration->custom_name, kCustomOpName) == 0;
}

bool is_start(const GraphNode& entry) {
  const TfLiteNode& node = *entry.node;
  const int size = node.custom_initial_data == nullptr ? 0 : node.custom_initial_data_size;
  OptionBlock block;
  return is_nested(entry) &&
         parse_option_block({static_cast<const uint8_t*>(node.custom_initial_data), static_cast<size_t>(size)}, &block)
             .ok() &&
         block.is_start;
}

bool read_nodes(TfLiteContext* context, const TfLiteIntArray& indices, std::vector<GraphNode>* nodes) {
  for (int i = 0; i < indices.size; ++i) {
    GraphNode entry{indices.data[i], nullptr, nullptr};
    if (context->GetNodeAndRegistration(context, entry.index, &entry.node, &entry.registration) != kTfLiteOk) {
      return false;
    }
    nodes->push_back(entry);
  }
  return true;
}

bool read_graph(TfLiteContext* context, std::vector<GraphNode>* nodes) {
  TfLiteIntArray* plan = nullptr;
  return context->GetExecutionPlan(context, &plan) == kTfLiteOk && read_nodes(context, *plan, nodes);
}

Status check_order(TfLiteContext* context) {
  std::vector<GraphNode> graph;
  if (!read_graph(context, &graph)) return error(NQ_SYSTEM, "the runtime does not give the delegate its graph");
  std::set<int> computed;  // by the operators that are still to come, the one in question included
  for (size_t i = graph.size(); i-- > 0;) {
    const TfLiteNode& node = *graph[i].node;
    for (int k = 0; k < node.outputs->size; ++k) {
      const int index = node.outputs->data[k];
      const TfLiteTensor* tensor = tensor_at(*context, index);
      if (tensor == nullptr) continue;
      if (is_constant(*tensor) || !computed.insert(index).second) {
        return invalid_model("operator %zu computes tensor %d, a constant or another's result; expected its own", i,
                             index);
      }
    }
    for (int k = 0; k < node.inputs->size; ++k) {
      const int index = node.inputs->data[k];
      if (computed.count(index) == 0) continue;
      return invalid_model("operator %zu reads tensor %d, which is computed only then; expected operators in order", i,
                           index);
    }
  }
  return {};
}

const GraphNode* nested_weight_of(const std::vector<GraphNode>& nodes, const TfLiteNode& node) {
  for (const GraphNode& entry : nodes) {
    if (is_nested(entry) && entry.node->outputs->size > 0 && contains(*node.inputs, entry.node->outputs->data[0])) {
      return &entry;
    }
  }
  return nullptr;
}

bool plan_claims(TfLiteContext* context, const Kernels& kernels, const char* unfused, Claims* claims) {
  Decisions decisions;
  if (!read_graph(context, &decisions.graph)) return false;
  decisions.reasons.resize(decisions.graph.size(), unfused == nullptr ? "" : unfused);
  if (unfused == nullptr) {
    fuse_weights(*context, &decisions);
    add_neighbours(*context, kernels, &decisions);
  }
  for (size_t i = 0; i < decisions.graph.size(); ++i) {
    const GraphNode& entry = decisions.graph[i];
    if (decisions.fused.count(i) != 0) {
      claims->fused.push_back(entry.index);
    } else if (is_nested(entry)) {
      claims->unpacked.push_back(entry.index);
    }
  }
  claims->operators = places(*context, decisions);
  return true;
}

}  // namespace nq
