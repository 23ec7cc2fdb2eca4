// The runtime's graph as the delegate reads it: its nodes, and which of them read and write a tensor.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "status.h"
#include "tflite_abi.h"

namespace nq {

struct GraphNode {
  int index;
  TfLiteNode* node;
  TfLiteRegistration* registration;
};

bool is_nested(const GraphNode& entry);

// A nested operator that only marks where an invocation starts.
bool is_start(const GraphNode& entry);

// Each node once; false if the runtime does not give it.
bool read_nodes(TfLiteContext* context, const TfLiteIntArray& indices, std::vector<GraphNode>* nodes);

// The nodes that the runtime will run, in that order; false if it does not give them.
bool read_graph(TfLiteContext* context, std::vector<GraphNode>* nodes);

// Nodes as the runtime takes them.
using NodeIndices = std::unique_ptr<TfLiteIntArray, decltype(&std::free)>;
NodeIndices node_indices(const std::vector<int>& nodes);

// Whether every operator reads only what those before it compute, and writes what no other does and no file holds.
// Runtimes rely on it and do not check it: TFLite writes outside its memory when a delegate claims a part of a cycle.
Status check_order(TfLiteContext* context);

// Positions of the nodes that have a tensor among their inputs, or outputs: each node once, in order.
using NodesByTensor = std::unordered_map<int, std::vector<size_t>>;
NodesByTensor readers_by_tensor(const std::vector<GraphNode>& graph);
NodesByTensor writers_by_tensor(const std::vector<GraphNode>& graph);

}  // namespace nq
