#include "nodes/claims.h"

#include <set>
#include <string>

#include "nodes/consumer.h"
#include "nodes/operator.h"
#include "nq/format.h"

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

// The only node that reads any of the nested operator's outputs; null if there are several, or none.
const GraphNode* only_reader(const std::vector<GraphNode>& graph, const TfLiteNode& nested) {
  const GraphNode* found = nullptr;
  for (const GraphNode& entry : graph) {
    if (!share_a_tensor(nested, *entry.node)) continue;
    if (found != nullptr) return nullptr;
    found = &entry;
  }
  return found;
}

bool can_fuse(const TfLiteContext& context, const TfLiteNode& nested, const GraphNode& reader) {
  const int num_outputs = nested.outputs->size;
  if (num_outputs < 1 || num_outputs > 2) return false;  // unpack-only says what is wrong with it
  Consumer consumer;
  std::string reason;
  return read_consumer(context, *reader.node, *reader.registration, nested.outputs->data[0],
                       num_outputs == 2 ? nested.outputs->data[1] : -1, &consumer, &reason);
}

// Adds the supported operators that touch what is claimed already, until there are no more.
void add_neighbours(const TfLiteContext& context, const std::vector<GraphNode>& graph, std::set<size_t>* claimed) {
  std::set<size_t> candidates;
  for (size_t i = 0; i < graph.size(); ++i) {
    std::string reason;
    if (is_neighbour(context, *graph[i].node, *graph[i].registration, &reason)) candidates.insert(i);
  }
  for (bool grown = true; grown;) {
    grown = false;
    for (const size_t i : candidates) {
      if (claimed->count(i) != 0) continue;
      for (const size_t other : *claimed) {
        const TfLiteNode &a = *graph[i].node, &b = *graph[other].node;
        if (!share_a_tensor(a, b) && !share_a_tensor(b, a)) continue;
        grown = claimed->insert(i).second;
        break;
      }
    }
  }
}

}  // namespace

bool is_nested(const GraphNode& entry) {
  return entry.node->delegate == nullptr && entry.registration->custom_name != nullptr &&
         std::strcmp(entry.registration->custom_name, kCustomOpName) == 0;
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

const GraphNode* nested_weight_of(const std::vector<GraphNode>& nodes, const TfLiteNode& node) {
  for (const GraphNode& entry : nodes) {
    if (is_nested(entry) && entry.node->outputs->size > 0 && node.inputs->size > 1 &&
        node.inputs->data[1] == entry.node->outputs->data[0]) {
      return &entry;
    }
  }
  return nullptr;
}

bool plan_claims(TfLiteContext* context, bool may_fuse, Claims* claims) {
  TfLiteIntArray* plan = nullptr;
  std::vector<GraphNode> graph;
  if (context->GetExecutionPlan(context, &plan) != kTfLiteOk || !read_nodes(context, *plan, &graph)) return false;
  std::set<size_t> fused;
  for (size_t i = 0; i < graph.size(); ++i) {
    if (!is_nested(graph[i])) continue;
    const GraphNode* reader = may_fuse ? only_reader(graph, *graph[i].node) : nullptr;
    if (reader != nullptr && can_fuse(*context, *graph[i].node, *reader)) {
      fused.insert({i, static_cast<size_t>(reader - graph.data())});
    } else {
      claims->unpacked.push_back(graph[i].index);
    }
  }
  if (!fused.empty()) add_neighbours(*context, graph, &fused);
  for (const size_t i : fused) claims->fused.push_back(graph[i].index);
  return true;
}

}  // namespace nq
