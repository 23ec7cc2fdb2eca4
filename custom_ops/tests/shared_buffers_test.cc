// Which RESHAPE must copy, on graphs that no runtime has to run.
#include "nodes/shared_buffers.h"

#include <utility>

#include "check.h"
#include "fake_runtime.h"

namespace {

constexpr int32_t kAdd = 0, kMul = 18, kReshape = 22, kSoftmax = 25, kTanh = 28, kSqueeze = 43, kExpandDims = 70;
constexpr uint64_t kRenames = kTfLiteInplaceOpInput0Shared | kTfLiteInplaceOpDataUnmodified;

struct Graph {
  int tensor() { return runtime.add_output("t", kTfLiteFloat32, {4, 16}); }

  // An operator of these inputs; gives its output.
  int add(int32_t code, const std::vector<int>& inputs) {
    const int output = tensor();
    last = runtime.add_builtin(code, inputs, {output}, nullptr);
    const bool renames = code == kReshape || code == kSqueeze || code == kExpandDims;
    runtime.registration(last).inplace_operator = renames ? kRenames : kTfLiteInplaceOpInput0Shared;
    return output;
  }

  // A RESHAPE of a RESHAPE; gives the outputs of both.
  std::pair<int, int> rename_twice() {
    const int first = add(kReshape, {add(kTanh, {image})});
    return {first, add(kReshape, {first})};
  }

  // Whether node `index`, a RESHAPE or the like, is made to copy; no other node is.
  bool copies(int index) {
    CHECK(nq::keep_buffers_apart(runtime.context()));
    for (int i = 0; i <= last; ++i) {
      if (i != index) {
        CHECK(runtime.registration(i).inplace_operator != kTfLiteInplaceOpNone);
      }
    }
    return runtime.registration(index).inplace_operator == kTfLiteInplaceOpNone;
  }

  nq_test::FakeRuntime runtime;
  int image = tensor();
  int last = -1;
};

// A residual connection about a RESHAPE and what overwrites its output.
TEST(a_sum_that_is_read_after_its_renamed_form_is_overwritten) {
  for (const int32_t rename : {kReshape, kSqueeze, kExpandDims}) {
    for (const int32_t overwrite : {kAdd, kMul, kSoftmax}) {
      Graph graph;
      const int sum = graph.add(kAdd, {graph.add(kTanh, {graph.image}), graph.add(kTanh, {graph.image})});
      const int renamed = graph.add(rename, {sum});
      const int reshape = graph.last;
      graph.add(kAdd, {sum, graph.add(kTanh, {graph.add(overwrite, {renamed})})});
      CHECK(graph.copies(reshape));
    }
  }
}

TEST(of_two_reshapes_the_second_copies) {
  Graph graph;
  const auto [first, second] = graph.rename_twice();
  const int reshape = graph.last;
  graph.add(kMul, {second});
  graph.add(kTanh, {first});
  CHECK(graph.copies(reshape));
}

TEST(what_the_planner_sees_is_left_alone) {
  const auto copies = [](auto build) {
    Graph graph;
    const int reshape = build(&graph);
    return graph.copies(reshape);
  };
  // The RESHAPE's input has memory of its own: its readers count.
  CHECK(!copies([](Graph* graph) {
    const int first = graph->add(kTanh, {graph->image}), renamed = graph->add(kReshape, {first});
    const int reshape = graph->last;
    graph->add(kAdd, {first, graph->add(kMul, {renamed})});
    return reshape;
  }));
  // Nobody overwrites it.
  CHECK(!copies([](Graph* graph) {
    const auto [first, renamed] = graph->rename_twice();
    const int reshape = graph->last;
    graph->add(kAdd, {first, graph->add(kTanh, {renamed})});
    return reshape;
  }));
  // Nobody reads what it renames.
  CHECK(!copies([](Graph* graph) {
    const auto [first, renamed] = graph->rename_twice();
    const int reshape = graph->last;
    graph->add(kMul, {renamed});
    return reshape;
  }));
  // Two read its output.
  CHECK(!copies([](Graph* graph) {
    const auto [first, renamed] = graph->rename_twice();
    const int reshape = graph->last;
    graph->add(kMul, {renamed, renamed});
    graph->add(kTanh, {first});
    return reshape;
  }));
  // Inputs of the model are never overwritten.
  CHECK(!copies([](Graph* graph) {
    const int renamed = graph->add(kReshape, {graph->image});
    const int reshape = graph->last;
    graph->add(kAdd, {graph->image, graph->add(kMul, {renamed})});
    return reshape;
  }));
}

TEST(without_the_planners_flag_nothing_is_written) {
  Graph graph;
  const auto [first, second] = graph.rename_twice();
  const int reshape = graph.last;
  graph.add(kMul, {second});
  graph.add(kTanh, {first});
  graph.runtime.registration(reshape).inplace_operator = 1234;
  CHECK(!graph.copies(reshape));
  CHECK_EQ(uint64_t{1234}, graph.runtime.registration(reshape).inplace_operator);
}

}  // namespace
