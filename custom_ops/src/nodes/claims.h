// Which nodes of a graph the delegate claims, decided before the first claim: claims change the runtime's plan.
#pragma once

#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "session/delegation.h"
#include "tflite_abi.h"

namespace nq {

struct Claims {
  // Nested operators with the only operators that read their weights, and the operators between them that the delegate
  // has kernels for. One claim for all; the runtime cuts it into as few partitions as the rest of the graph allows.
  std::vector<int> fused;
  // Of those, the nested operators with their readers. A partition that lacks one of the two cannot run.
  std::vector<std::pair<int, int>> fused_weights;
  // Nested operators by themselves, unpacked for the runtime's kernels. One claim each: a claim of several independent
  // ones would run them first of all, with every weight unpacked at once.
  std::vector<int> unpacked;
  // What becomes of every operator of the graph, and why.
  std::vector<OperatorPlace> operators;
};

// `unfused`: why nothing is to be fused; null to fuse what can be. False if the runtime does not give its plan.
bool plan_claims(TfLiteContext* context, const Kernels& kernels, const char* unfused, Claims* claims);

// Whether the runtime would leave every fused weight together with its reader. LiteRT parts all operators where it is
// to keep every tensor, or told not to fuse nodes.
bool stay_together(TfLiteContext* context, const Claims& claims);

}  // namespace nq
