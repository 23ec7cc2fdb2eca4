// Which nodes of a graph the delegate claims, decided before the first claim: claims change the runtime's plan.
#pragma once

#include <vector>

#include "kernels/kernels.h"
#include "session/delegation.h"
#include "status.h"
#include "tflite_abi.h"

namespace nq {

struct GraphNode {
  int index;
  TfLiteNode* node;
  TfLiteRegistration* registration;
};

struct Claims {
  // Nested operators with the only operators that read their weights, and the operators between them that the delegate
  // has kernels for. One claim for all; the runtime cuts it into as few partitions as the rest of the graph allows.
  std::vector<int> fused;
  // Nested operators by themselves, unpacked for the runtime's kernels. One claim each: a claim of several independent
  // ones would run them first of all, with every weight unpacked at once.
  std::vector<int> unpacked;
  // What becomes of every operator of the graph, and why.
  std::vector<OperatorPlace> operators;
};

bool is_nested(const GraphNode& entry);

// A nested operator that only marks where an invocation starts.
bool is_start(const GraphNode& entry);

// Each node once; false if the runtime does not give it.
bool read_nodes(TfLiteContext* context, const TfLiteIntArray& indices, std::vector<GraphNode>* nodes);

// The nodes that the runtime will run, in that order; false if it does not give them.
bool read_graph(TfLiteContext* context, std::vector<GraphNode>* nodes);

// Whether every operator reads only what those before it compute, and writes what no other does and no file holds.
// Runtimes rely on it and do not check it: TFLite writes outside its memory when a delegate claims a part of a cycle.
Status check_order(TfLiteContext* context);

// The nested operator that gives this node its weight, if it is among `nodes`.
const GraphNode* nested_weight_of(const std::vector<GraphNode>& nodes, const TfLiteNode& node);

// `unfused`: why nothing is to be fused; null to fuse what can be. False if the runtime does not give its plan.
bool plan_claims(TfLiteContext* context, const Kernels& kernels, const char* unfused, Claims* claims);

}  // namespace nq
