#include "nodes/graph.h"

#include <cstring>
#include <new>
#include <unordered_set>

#include "format/option_block.h"
#include "nq/format.h"
#include "operators/tensors.h"

namespace nq {
namespace {

void add_positions(const TfLiteIntArray& tensors, size_t position, NodesByTensor* nodes) {
  for (int k = 0; k < tensors.size; ++k) {
    std::vector<size_t>& positions = (*nodes)[tensors.data[k]];
    if (positions.empty() || positions.back() != position) positions.push_back(position);
  }
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

NodeIndices node_indices(const std::vector<int>& nodes) {
  NodeIndices indices(new_int_array(static_cast<int>(nodes.size()), nodes.data()), std::free);
  if (indices == nullptr) throw std::bad_alloc();
  return indices;
}

Status check_order(TfLiteContext* context) {
  std::vector<GraphNode> graph;
  if (!read_graph(context, &graph)) return error(NQ_SYSTEM, "the runtime does not give the delegate its graph");
  std::unordered_set<int> computed;  // by the operators that are still to come, the one in question included
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
      return invalid_model("operator %zu reads tensor %d, which no earlier operator computes; expected them in order",
                           i, index);
    }
  }
  return {};
}

NodesByTensor readers_by_tensor(const std::vector<GraphNode>& graph) {
  NodesByTensor readers;
  for (size_t i = 0; i < graph.size(); ++i) add_positions(*graph[i].node->inputs, i, &readers);
  return readers;
}

NodesByTensor writers_by_tensor(const std::vector<GraphNode>& graph) {
  NodesByTensor writers;
  for (size_t i = 0; i < graph.size(); ++i) add_positions(*graph[i].node->outputs, i, &writers);
  return writers;
}

}  // namespace nq
