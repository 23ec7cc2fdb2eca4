// What is fused, what is not and why, decided on graphs that no runtime has to run.
#include "nodes/claims.h"

#include "check.h"
#include "fake_runtime.h"
#include "nodes/graph.h"
#include "operators/operator.h"
#include "operators/reader.h"

namespace {

using nq::OperatorPlace;
using nq_test::FakeRuntime;

constexpr int32_t kAdd = 0, kConv2d = 3, kDepthwiseConv2d = 4, kGather = 36, kArgMax = 56;

struct ConvParams {
  int padding = 1, stride_w = 1, stride_h = 1, activation = 0, dilation_w = 1, dilation_h = 1;
};
struct DepthwiseParams {
  int padding = 1, stride_w = 1, stride_h = 1, multiplier = 1, activation = 0, dilation_w = 1, dilation_h = 1;
};

// int8 activations of 8 x 8 x 16 between layers; the nested operators have no inputs, for nobody reads them here.
struct Graph {
  Graph() { image = activation("image"); }

  int activation(const std::string& name) {
    const int index = runtime.add_output(name, kTfLiteInt8, {1, 8, 8, 16});
    runtime.set_quantization(index, 0.5f, 3);
    return index;
  }

  int weight(const std::string& name, const std::vector<int>& shape = {16, 3, 3, 16}) {
    return runtime.add_output(name, kTfLiteInt8, shape);
  }

  int nested(const std::vector<int>& outputs) { return runtime.add_node("NQ_UNPACK_DEQUANT", {}, outputs, options); }

  // A convolution of `input` with the weight; gives its output.
  int conv(int input, int filter, int bias = -1) {
    const int output = activation("conv" + std::to_string(filter));
    last = runtime.add_builtin(kConv2d, {input, filter, bias}, {output}, &conv_params);
    return output;
  }

  nq::Claims plan(const char* unfused = nullptr) {
    nq::Claims claims;
    nq::Kernels kernels;
    CHECK_OK(nq::select_kernels(&kernels));
    CHECK(nq::plan_claims(runtime.context(), kernels, unfused, &claims));
    return claims;
  }

  // Why the only weight is unpacked.
  std::string reason() {
    const nq::Claims claims = plan();
    CHECK_EQ(size_t{1}, claims.unpacked.size());
    CHECK(claims.fused.empty());
    for (const OperatorPlace& each : claims.operators) {
      if (each.weight) return each.place == NQ_UNPACKED ? each.reason : "fused";
    }
    return "no weight";
  }

  nq_test::Bytes options;
  ConvParams conv_params;
  FakeRuntime runtime;
  int image = -1, last = -1;
};

TEST(a_weight_is_told_of_with_its_reader) {
  Graph graph;
  const int filter = graph.weight("filter");
  graph.nested({filter});
  const int sum = graph.activation("sum"), out = graph.conv(graph.image, filter);
  const int add = 0;
  graph.runtime.add_builtin(kAdd, {out, graph.image}, {sum}, &add);
  graph.runtime.add_builtin(kArgMax, {sum}, {graph.activation("best")}, nullptr);
  const nq::Claims claims = graph.plan();
  CHECK(claims.fused == std::vector<int>({0, 1, 2}));
  CHECK(claims.unpacked.empty());
  CHECK_EQ(size_t{3}, claims.operators.size());
  const OperatorPlace &conv = claims.operators[0], &addition = claims.operators[1], &best = claims.operators[2];
  CHECK(conv.name == "CONV_2D" && conv.output == "conv1" && conv.weight == "filter" && conv.place == NQ_FUSED);
  CHECK(addition.name == "ADD" && addition.output == "sum" && !addition.weight && addition.place == NQ_FUSED);
  CHECK(best.name == "ARG_MAX" && best.output == "best" && best.place == NQ_RUNTIME);
  CHECK_EQ(std::string("no kernel for the operator"), best.reason);
}

TEST(without_fusing_all_have_that_reason) {
  Graph graph;
  const int filter = graph.weight("filter");
  graph.nested({filter});
  graph.conv(graph.conv(graph.image, filter), graph.runtime.add_constant(kTfLiteInt8, {16, 1, 1, 16}, "", 256));
  const nq::Claims claims = graph.plan("fusing is off");
  CHECK(claims.fused.empty());
  CHECK(claims.unpacked == std::vector<int>({0}));
  CHECK_EQ(size_t{2}, claims.operators.size());
  CHECK(claims.operators[0].place == NQ_UNPACKED && claims.operators[1].place == NQ_RUNTIME);
  for (const OperatorPlace& each : claims.operators) CHECK_EQ(std::string("fusing is off"), each.reason);
}

TEST(weights_that_are_unpacked_have_a_reason) {
  const auto reason_after = [](auto change) {
    Graph graph;
    const int filter = graph.weight("filter");
    graph.nested({filter});
    change(&graph, filter);
    return graph.reason();
  };
  const auto conv_after = [&](auto change) {
    return reason_after([&](Graph* graph, int filter) {
      change(graph, filter);
      graph->conv(graph->image, filter);
    });
  };
  CHECK_EQ(std::string("no operator reads the weight"), reason_after([](Graph*, int) {}));
  CHECK_EQ(std::string("several operators read the weight; one is supported"),
           conv_after([](Graph* graph, int filter) { graph->conv(graph->image, filter); }));
  CHECK_EQ(std::string("several groups; one is supported"),
           conv_after([](Graph* graph, int filter) { graph->runtime.tensor(filter).dims->data[3] = 8; }));
  CHECK_EQ(std::string("a stride or dilation outside 1 to 16384"),
           conv_after([](Graph* graph, int) { graph->conv_params.stride_w = 0; }));
  CHECK_EQ(std::string("padding other than SAME and VALID"),
           conv_after([](Graph* graph, int) { graph->conv_params.padding = 0; }));
  CHECK_EQ(std::string("a fused activation other than RELU, RELU_N1_TO_1 and RELU6"),
           conv_after([](Graph* graph, int) { graph->conv_params.activation = 4; }));
  CHECK_EQ(std::string("float activations; full-int8 is supported"),
           conv_after([](Graph* graph, int) { graph->runtime.tensor(graph->image).type = kTfLiteFloat32; }));
  CHECK_EQ(std::string("a float32 weight whose input or output is not float32"),
           conv_after([](Graph* graph, int filter) { graph->runtime.tensor(filter).type = kTfLiteFloat32; }));
  CHECK_EQ(std::string("activations that are not int8 with one scale"),
           conv_after([](Graph* graph, int) { graph->runtime.set_quantization(graph->image, 0, 0); }));
  CHECK_EQ(std::string("no fused kernel for the operator that reads it"), reason_after([](Graph* graph, int filter) {
             graph->runtime.add_builtin(kArgMax, {graph->image, filter}, {graph->activation("best")}, &filter);
           }));
}

// A fuzzer's: each would be computed with what no arithmetic is meant for.
TEST(tensors_that_make_no_sense_are_refused) {
  const auto reason_after = [](auto change) {
    Graph graph;
    const int filter = graph.weight("filter");
    graph.runtime.set_scales(filter, std::vector<float>(16, 0.5f), 0);
    graph.nested({filter});
    graph.conv(graph.image, filter);
    change(&graph.runtime, graph.image, filter);
    const std::vector<OperatorPlace> operators = graph.plan().operators;
    return operators[0].reason;
  };
  int sparsity = 0;
  CHECK_EQ(std::string(), reason_after([](FakeRuntime*, int, int) {}));
  CHECK_EQ(std::string("activations that are not int8 with one scale"),
           reason_after([&](FakeRuntime* runtime, int image, int) { runtime->tensor(image).sparsity = &sparsity; }));
  CHECK_EQ(std::string("activations that are not int8 with one scale"),
           reason_after([](FakeRuntime* runtime, int image, int) { runtime->set_quantization(image, 1e-40f, 0); }));
  CHECK_EQ(std::string("scales too far apart"), reason_after([](FakeRuntime* runtime, int image, int filter) {
             runtime->set_quantization(image, 1e30f, 0);
             runtime->set_scales(filter, {1e30f}, 0);
           }));
}

TEST(operators_must_be_in_order) {
  const auto order_after = [](auto change) {
    Graph graph;
    const int filter = graph.weight("filter");
    graph.nested({filter});
    const int out = graph.conv(graph.image, filter);
    change(&graph, out);
    return nq::check_order(graph.runtime.context());
  };
  const int add = 0;
  const std::vector<int8_t> codes(16);
  CHECK_OK(order_after([&](Graph* graph, int out) {
    graph->runtime.add_builtin(kAdd, {out, graph->image}, {graph->activation("sum")}, &add);
  }));
  CHECK_FAILS(NQ_INVALID_MODEL, "no earlier operator computes", order_after([&](Graph* graph, int out) {
                const int sum = graph->activation("sum");
                graph->runtime.add_builtin(kAdd, {out, sum}, {sum}, &add);
              }));
  CHECK_FAILS(NQ_INVALID_MODEL, "no earlier operator computes", order_after([&](Graph* graph, int out) {
                const int sum = graph->activation("sum"), later = graph->activation("later");
                graph->runtime.add_builtin(kAdd, {out, later}, {sum}, &add);
                graph->runtime.add_builtin(kAdd, {sum, sum}, {later}, &add);
              }));
  CHECK_FAILS(NQ_INVALID_MODEL, "another's result", order_after([&](Graph* graph, int out) {
                graph->runtime.add_builtin(kAdd, {graph->image, graph->image}, {out}, &add);
              }));
  CHECK_FAILS(NQ_INVALID_MODEL, "a constant", order_after([&](Graph* graph, int out) {
                const int constant = graph->runtime.add_constant(kTfLiteInt8, {16}, codes.data(), 16);
                graph->runtime.add_builtin(kAdd, {out, out}, {constant}, &add);
              }));
}

// Another number of rows than dimensions: results would lie behind the output.
TEST(rows_of_a_dense_layer_end_where_dimensions_do) {
  FakeRuntime runtime;
  nq::Reader reader;
  reader.kind = nq::ReaderKind::kDense;
  reader.weight = runtime.add_output("filter", kTfLiteInt8, {16, 8});
  const auto fits = [&](bool keep_num_dims, const nq::Shape& in) {
    nq::Geometry geometry;
    reader.keep_num_dims = keep_num_dims;
    return nq::layer_geometry(*runtime.context(), reader, in, &geometry);
  };
  CHECK(fits(true, {3, 2, 8}) && fits(false, {3, 2, 8}) && fits(false, {3, 16}));
  CHECK(!fits(true, {3, 16}) && !fits(true, {}) && !fits(false, {3, 4}));
}

TEST(tensors_have_fewer_elements_than_32_bits_count) {
  CHECK(nq::is_shape({}) && nq::is_shape({0}) && nq::is_shape({1 << 15, (1 << 16) - 1}));
  CHECK(!nq::is_shape({1 << 15, 1 << 16}) && !nq::is_shape({-1}) && !nq::is_shape({-2, -2}));
  CHECK(!nq::is_shape({1 << 30, 1 << 30, 1 << 30, 1 << 30}));
}

TEST(lookups_are_fused_or_have_a_reason) {
  struct GatherParams {
    int axis = 0, batch_dims = 0;
  };
  const auto place_after = [](auto change) {
    Graph graph;
    GatherParams params;
    const int table = graph.weight("table", {40, 16}), rows = graph.activation("rows");
    const int indices = graph.runtime.add_output("indices", kTfLiteInt32, {7});
    graph.nested({table});
    change(&graph, &params, indices, rows);
    graph.runtime.add_builtin(kGather, {table, indices}, {rows}, &params);
    const nq::Claims claims = graph.plan();
    CHECK_EQ(size_t{1}, claims.operators.size());
    CHECK_EQ(claims.operators[0].place == NQ_FUSED ? size_t{2} : size_t{0}, claims.fused.size());
    return claims.operators[0].place == NQ_FUSED ? "fused" : claims.operators[0].reason;
  };
  CHECK_EQ(std::string("fused"), place_after([](Graph*, GatherParams*, int, int) {}));
  CHECK_EQ(std::string("a lookup along another axis than the first"),
           place_after([](Graph*, GatherParams* params, int, int) { params->axis = 1; }));
  CHECK_EQ(std::string("a lookup along another axis than the first"),
           place_after([](Graph*, GatherParams* params, int, int) { params->batch_dims = 1; }));
  CHECK_EQ(std::string("indices that are not int32"), place_after([](Graph* graph, GatherParams*, int indices, int) {
             graph->runtime.tensor(indices).type = kTfLiteUInt8;
           }));
  CHECK_EQ(std::string("an output of another type than the table"),
           place_after(
               [](Graph* graph, GatherParams*, int, int rows) { graph->runtime.tensor(rows).type = kTfLiteFloat32; }));
}

TEST(a_reader_with_another_bias_is_refused) {
  const std::vector<int32_t> values(16);
  const auto reason_with = [&](bool own) {
    Graph graph;
    const int filter = graph.weight("filter"), bias = graph.runtime.add_output("bias", kTfLiteInt32, {16});
    const int other = graph.runtime.add_constant(kTfLiteInt32, {16}, values.data(), 64);
    graph.nested({filter, bias});
    graph.conv(graph.image, filter, own ? bias : other);
    return own ? graph.plan().operators[0].reason : graph.reason();
  };
  CHECK_EQ(std::string("a bias other than the nested operator's"), reason_with(false));
  CHECK_EQ(std::string(), reason_with(true));
}

// Beside a fused layer, so that only its own form keeps it out.
TEST(a_plain_depthwise_weight_must_have_one_filter) {
  const std::vector<int8_t> codes(2 * 9 * 16);
  const DepthwiseParams params;
  for (const int filters : {1, 2}) {
    Graph graph;
    const int filter = graph.weight("filter");
    graph.nested({filter});
    const int plain = graph.runtime.add_constant(kTfLiteInt8, {filters, 3, 3, 16}, codes.data(),
                                                 static_cast<size_t>(filters) * 9 * 16);
    graph.runtime.set_scales(plain, std::vector<float>(16, 0.5f), 3);
    const int out = graph.activation("depthwise");
    graph.runtime.add_builtin(kDepthwiseConv2d, {graph.conv(graph.image, filter), plain, -1}, {out}, &params);
    const OperatorPlace found = graph.plan().operators.back();
    CHECK_EQ(std::string("DEPTHWISE_CONV_2D"), found.name);
    CHECK_EQ(filters == 1 ? NQ_FUSED : NQ_RUNTIME, found.place);
    CHECK_EQ(std::string(filters == 1 ? "" : "a depthwise weight whose first dimension is not 1"), found.reason);
  }
}

TEST(a_supported_operator_with_no_fused_one_beside_it_stays) {
  Graph graph;
  const int add = 0;
  graph.runtime.add_builtin(kAdd, {graph.image, graph.activation("b")}, {graph.activation("sum")}, &add);
  graph.runtime.add_builtin(9999, {graph.image}, {graph.activation("later")}, nullptr);
  const nq::Claims claims = graph.plan();
  CHECK(claims.fused.empty());
  CHECK_EQ(std::string("no fused layer beside it"), claims.operators[0].reason);
  CHECK_EQ(std::string("BUILTIN_9999"), claims.operators[1].name);
}

TEST(a_weight_and_its_reader_need_one_partition) {
  Graph graph;
  const int filter = graph.weight("filter");
  graph.nested({filter});
  graph.conv(graph.image, filter);
  const nq::Claims fused = graph.plan(), unfused = graph.plan("fusing is off");
  CHECK((fused.fused_weights == std::vector<std::pair<int, int>>{{0, 1}}));
  CHECK(nq::stay_together(graph.runtime.context(), fused));
  graph.runtime.part_nodes();
  CHECK(!nq::stay_together(graph.runtime.context(), fused));
  CHECK(nq::stay_together(graph.runtime.context(), unfused));
  graph.runtime.hide_preview();
  CHECK(nq::stay_together(graph.runtime.context(), fused));
}

// A chain whose only fused layer is its last one, so that what is fused grows from the end: a search of all nodes for
// each node would not come to an end.
TEST(a_large_graph_is_divided_in_one_pass) {
  constexpr int kLength = 20000;
  Graph graph;
  const int add = 0;
  int last = graph.image;
  for (int i = 0; i < kLength; ++i) {
    const int sum = graph.activation("sum");
    graph.runtime.add_builtin(kAdd, {last, graph.image}, {sum}, &add);
    last = sum;
  }
  const int filter = graph.weight("filter");
  graph.nested({filter});
  graph.conv(last, filter);
  const nq::Claims claims = graph.plan();
  CHECK_EQ(size_t{kLength + 2}, claims.fused.size());
  CHECK(claims.unpacked.empty());
  CHECK_EQ(size_t{kLength + 1}, claims.operators.size());
}

// How often the runtime is asked for a node of a chain of so many nested convolutions and sums.
size_t reads_of_chain(int length) {
  Graph graph;
  const int add = 0;
  int last = graph.image;
  for (int i = 0; i < length; ++i) {
    const int filter = graph.weight("filter"), sum = graph.activation("sum");
    graph.nested({filter});
    graph.conv(last, filter);
    graph.runtime.add_builtin(kAdd, {last, graph.image}, {sum}, &add);
    last = sum;
  }
  CHECK_EQ(size_t{3} * static_cast<size_t>(length), graph.plan().fused.size());
  return graph.runtime.num_node_reads();
}

TEST(a_graph_of_twice_the_length_is_read_twice_as_often) {
  const size_t reads = reads_of_chain(200);
  CHECK(reads >= 600 && reads <= 6 * 600);
  CHECK_EQ(2 * reads, reads_of_chain(400));
}

}  // namespace
