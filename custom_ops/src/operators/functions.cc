// Functions of floats between layers, which need no passes of their own over tensors.
#include "operators/map_operator.h"
#include "operators/step_graph.h"

namespace nq {
namespace {

// x * logistic(x), which frameworks write in two operators.
void fuse_swishes(const std::unordered_set<int>& outputs, const ElementwiseKernel::Floats& floats, Steps* steps) {
  const StepGraph graph(outputs, *steps);
  for (std::unique_ptr<Operator>& step : *steps) {
    if (step == nullptr || step->role().function != floats.logistic) continue;
    const int x = step->inputs()[0], y = step->output();
    const size_t product = graph.only_reader(y, Role::kMultiply);
    if (product == StepGraph::kNone) continue;
    std::unique_ptr<Operator>& multiplication = (*steps)[product];
    const std::vector<int>& factors = multiplication->inputs();
    if (factors != std::vector<int>{x, y} && factors != std::vector<int>{y, x}) continue;
    step = make_float_function(x, multiplication->output(), floats.swish);
    multiplication = nullptr;
  }
  drop_merged(steps);
}

}  // namespace

void fuse_functions(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps) {
  fuse_swishes(outputs, kernels.elementwise->floats, steps);
  const StepGraph graph(outputs, *steps);
  for (const std::unique_ptr<Operator>& step : *steps) {
    const size_t reader = step == nullptr ? StepGraph::kNone : graph.only_reader(step->output(), Role::kFunction);
    if (reader == StepGraph::kNone) continue;
    std::unique_ptr<Operator>& function = (*steps)[reader];
    if (step->absorb_function(function->role().function, function->output())) function = nullptr;
  }
  drop_merged(steps);
}

}  // namespace nq
