// What a profile says of a partition's steps.
#pragma once

#include <vector>

#include "nodes/graph.h"
#include "operators/operator.h"
#include "session/profile.h"

namespace nq {

// A layer for each step, with the names of the partition's operators that it computes.
std::vector<LayerTime> name_layers(const TfLiteContext& context, const std::vector<GraphNode>& nodes,
                                   const Steps& steps);

// Sets what depends on the shapes of all tensors.
void measure_layers(const TfLiteContext& context, const Steps& steps, const Shapes& shapes,
                    std::vector<LayerTime>* layers);

}  // namespace nq
