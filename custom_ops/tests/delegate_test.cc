// The plugin from create to destroy, through its C entry points and a fake runtime.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "check.h"
#include "loaded_model.h"
#include "nested_file.h"
#include "nq.h"
#include "tflite_abi.h"

namespace {

using nq::OutputType;
using nq_test::Bytes;
using nq_test::create_delegate;
using nq_test::creation_error;
using nq_test::LoadedModel;
using nq_test::TestWeight;

std::vector<TestWeight> float_weights() {
  std::vector<TestWeight> weights = nq_test::example_weights();
  for (TestWeight& weight : weights) weight.block.output_type = OutputType::kFloat32;
  return weights;
}

TEST(unpacks_every_weight_at_every_level) {
  for (const auto& weights : {nq_test::example_weights(), float_weights()}) {
    const nq_session session = nq_session_open();
    LoadedModel loaded(weights);
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", std::to_string(session)}}));
    CHECK_EQ(size_t{3}, loaded.runtime.num_claims());
    int32_t count = 0, bits[8] = {};
    CHECK_EQ(NQ_OK, nq_session_levels(session, &count, bits, 8));
    CHECK(count == 3 && bits[0] == 4 && bits[1] == 6 && bits[2] == 8);
    CHECK_EQ(NQ_OK, nq_session_num_weights(session, &count));
    CHECK_EQ(3, count);
    for (const int level : {2, 0, 1, 2}) {
      CHECK_EQ(NQ_OK, nq_session_set_level(session, level, 0, nullptr));
      CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
      loaded.check_weights(level);
    }
    nq_session_close(session);
    CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_set_level(session, 0, 0, nullptr));
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    CHECK(loaded.runtime.errors().empty());
  }
}

TEST(corrects_the_bias) {
  LoadedModel loaded(nq_test::example_weights());
  for (int32_t& bias : loaded.biases) bias = 1000;
  CHECK_EQ(kTfLiteOk, loaded.allocate({{"precision", "6"}}));
  CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
  const auto* bias = static_cast<const int32_t*>(loaded.runtime.tensor(loaded.weights[0] + 2).data);
  for (size_t c = 0; c < 20; ++c) {
    const auto delta = static_cast<int8_t>(loaded.file.weights[0].deltas[1][c]);
    CHECK_EQ(1000 + static_cast<int32_t>(std::nearbyint(static_cast<float>(delta) * 0.5f)), bias[c]);
  }
}

TEST(gives_the_bias_as_it_stands_without_deltas) {
  for (const auto& weights : {nq_test::example_weights(), float_weights()}) {
    LoadedModel loaded(weights);
    for (size_t c = 0; c < 20; ++c) loaded.biases[c] = static_cast<int32_t>(c) - 7;
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"precision", "full"}}));
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    const void* bias = loaded.runtime.tensor(loaded.weights[0] + (nq_test::is_float(weights[0]) ? 3 : 2)).data;
    CHECK_EQ(0, std::memcmp(loaded.biases.data(), bias, 20 * sizeof(int32_t)));
  }
}

TEST(leaves_other_operators_alone) {
  LoadedModel loaded(nq_test::example_weights());
  const Bytes none;
  loaded.runtime.add_node("OTHER", {}, {}, none);
  loaded.runtime.add_node(nullptr, {}, {}, none);
  const int taken = loaded.runtime.add_node("NQ_UNPACK_DEQUANT", {}, {}, none);
  TfLiteDelegate other = {};
  loaded.runtime.node(taken).delegate = &other;
  CHECK_EQ(kTfLiteOk, loaded.allocate());
  CHECK_EQ(size_t{3}, loaded.runtime.num_claims());
}

TEST(the_session_tells_what_runs_where) {
  const nq_session session = nq_session_open();
  const nq_operator* operators = nullptr;
  int32_t count = -1, partitions = -1;
  CHECK_EQ(NQ_NOT_READY, nq_session_delegation(session, &operators, &count, &partitions));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_delegation(session, nullptr, &count, &partitions));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_delegation(session, &operators, nullptr, &partitions));
  CHECK(operators == nullptr && count == -1 && partitions == -1);
  {
    LoadedModel loaded(nq_test::example_weights());
    loaded.runtime.add_node("OTHER", {}, {}, {});
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", std::to_string(session)}, {"fuse", "0"}}));
    CHECK_EQ(NQ_OK, nq_session_delegation(session, &operators, &count, nullptr));
    CHECK_EQ(NQ_OK, nq_session_delegation(session, &operators, &count, &partitions));
  }
  nq_session_close(session);  // what was told stays until the next call
  CHECK_EQ(4, count);
  CHECK_EQ(0, partitions);
  for (int i = 0; i < 3; ++i) {
    CHECK_EQ(std::string("NQ_UNPACK_DEQUANT"), operators[i].name);  // nobody reads the weight
    CHECK_EQ("weight" + std::to_string(i), operators[i].weight);
    CHECK_EQ(std::string("fusing is off"), operators[i].reason);
    CHECK_EQ(NQ_UNPACKED, operators[i].place);
  }
  CHECK_EQ(std::string("OTHER"), operators[3].name);
  CHECK_EQ(std::string(), operators[3].output);
  CHECK(operators[3].weight == nullptr);
  CHECK_EQ(NQ_RUNTIME, operators[3].place);
}

TEST(what_the_runtime_parts_is_unpacked) {
  for (const bool parted : {false, true}) {
    const nq_session session = nq_session_open();
    LoadedModel loaded({nq_test::example_weights()[0]});
    const int image = loaded.runtime.add_output("image", kTfLiteInt8, {1, 4, 8, 9});
    const int out = loaded.runtime.add_output("conv", kTfLiteInt8, {1, 4, 4, 20});
    for (const int index : {image, out}) loaded.runtime.set_quantization(index, 0.5f, 0);
    const int valid_padding_and_steps[] = {2, 1, 1, 0, 1, 1};
    const int weight = loaded.weights[0];
    loaded.runtime.add_builtin(3, {image, weight, weight + 2}, {out}, valid_padding_and_steps);
    if (parted) loaded.runtime.part_nodes();
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", std::to_string(session)}, {"fuse", "1"}}));
    const nq_operator* operators = nullptr;
    int32_t count = 0, partitions = -1;
    CHECK_EQ(NQ_OK, nq_session_delegation(session, &operators, &count, &partitions));
    CHECK_EQ(1, count);
    CHECK_EQ(parted ? 0 : 1, partitions);
    CHECK_EQ(parted ? NQ_UNPACKED : NQ_FUSED, operators[0].place);
    CHECK_EQ(parted, operators[0].reason != nullptr);
    if (parted) {
      CHECK_EQ(std::string("an option of the runtime parts its operators"), operators[0].reason);
      CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
      loaded.check_weights(2);
    }
    nq_session_close(session);
  }
}

TEST(a_session_outlives_and_refuses) {
  const nq_session session = nq_session_open();
  const std::string handle = std::to_string(session);
  {
    LoadedModel loaded(nq_test::example_weights());
    CHECK_EQ(NQ_NOT_READY, nq_session_prepare(session));
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", handle}, {"precision", "part"}}));
    CHECK(create_delegate({{"session", handle}}) == nullptr);
    CHECK(nq_test::contains(creation_error, "another delegate"));
  }
  CHECK_EQ(NQ_NOT_READY, nq_session_set_level(session, 0, 0, nullptr));
  CHECK(nq_test::contains(nq_last_error(), "no nested model"));
  LoadedModel again(nq_test::example_weights());
  CHECK_EQ(kTfLiteOk, again.allocate({{"session", handle}}));
  nq_session_close(session);
}

TEST(options_are_checked) {
  const std::pair<const char*, const char*> bad[] = {{"session", "0"},
                                                     {"session", "-1"},
                                                     {"session", ""},
                                                     {"session", "12x"},
                                                     {"session", "999999"},
                                                     {"session", " 1"},
                                                     {"session", "99999999999999999999999"},
                                                     {"precision", "half"},
                                                     {"precision", "10"},
                                                     {"num_threads", "two"},
                                                     {"num_threads", "-1"},
                                                     {"num_threads", "1025"},
                                                     {"profile", "yes"},
                                                     {"precison", "full"}};
  for (const auto& [key, value] : bad) {
    CHECK(create_delegate({{key, value}}) == nullptr);
    CHECK(nq_test::contains(creation_error, "expected"));
    CHECK(creation_error == nq_last_error());
  }
}

TEST(unpacked_weights_are_timed_by_level) {
  const nq_session session = nq_session_open();
  LoadedModel loaded(nq_test::example_weights());
  const nq_layer_time* layers = nullptr;
  int32_t count = 0;
  CHECK_EQ(NQ_NOT_READY, nq_session_profile(session, 0, &layers, &count));
  CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", std::to_string(session)}, {"profile", "1"}}));
  for (int32_t level = 0; level < 3; ++level) {
    CHECK_EQ(NQ_OK, nq_session_set_level(session, level, 0, nullptr));
    for (int32_t k = 0; k <= level; ++k) CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
  }
  uint64_t bytes = 0;
  for (int32_t level = 0; level < 3; ++level) {
    CHECK_EQ(NQ_OK, nq_session_profile(session, level, &layers, &count));
    CHECK_EQ(loaded.weights.size(), static_cast<size_t>(count));
    for (int32_t i = 0; i < count; ++i) {
      const nq_layer_time& layer = layers[i];
      CHECK_EQ("weight" + std::to_string(i), std::string(layer.weight));
      CHECK_EQ(std::string("NQ_UNPACK_DEQUANT"), layer.name);
      CHECK_EQ(int32_t{NQ_UNPACKED}, layer.place);
      CHECK_EQ(loaded.runtime.tensor(loaded.weights[static_cast<size_t>(i)]).dims->size, layer.num_dims);
      CHECK_EQ(static_cast<uint64_t>(level) + 1, layer.invocations);
      CHECK(layer.least > 0 && layer.nanoseconds >= layer.invocations * layer.least);
    }
    CHECK(layers[0].bytes > bytes);
    bytes = layers[0].bytes;
  }
  CHECK_EQ(NQ_OK, nq_session_reset_profile(session));
  CHECK_EQ(NQ_OK, nq_session_profile(session, 2, &layers, &count));
  CHECK_EQ(uint64_t{0}, layers[0].invocations + layers[0].nanoseconds + layers[0].least);
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_profile(session, 3, &layers, &count));
  CHECK(nq_test::contains(nq_last_error(), "level 3; expected one of the model's, 0 to 2"));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_profile(session, -1, &layers, &count));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_profile(session, 0, nullptr, &count));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_profile(session, 0, &layers, nullptr));
  nq_session_close(session);
}

TEST(times_are_kept_only_if_asked_for) {
  const nq_session session = nq_session_open();
  LoadedModel loaded(nq_test::example_weights());
  CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", std::to_string(session)}, {"profile", "0"}}));
  const nq_layer_time* layers = nullptr;
  int32_t count = 0;
  CHECK_EQ(NQ_NOT_READY, nq_session_profile(session, 0, &layers, &count));
  CHECK(nq_test::contains(nq_last_error(), "option profile=1"));
  CHECK_EQ(NQ_NOT_READY, nq_session_reset_profile(session));
  nq_session_close(session);
}

TEST(the_isa_can_be_forced) {
  setenv("NQ_ISA", "scalar", 1);
  CHECK_EQ(std::string("scalar"), nq_isa());
  {
    LoadedModel loaded(nq_test::example_weights());
    CHECK_EQ(kTfLiteOk, loaded.allocate());
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    loaded.check_weights(2);
  }
  setenv("NQ_ISA", "mmx", 1);
  CHECK_EQ(std::string(), nq_isa());
  CHECK(nq_test::contains(nq_last_error(), "NQ_ISA=mmx"));
  CHECK(create_delegate({}) == nullptr);
  CHECK(nq_test::contains(creation_error, "NQ_ISA=mmx"));
  unsetenv("NQ_ISA");
  CHECK(*nq_isa() != '\0');
}

TEST(null_results_are_errors) {
  const nq_session session = nq_session_open();
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_levels(session, nullptr, nullptr, 0));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_get_level(session, nullptr));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_session_num_weights(session, nullptr));
  nq_session_close(session);
  nq_session_close(0);
  tflite_plugin_destroy_delegate(nullptr);
}

// The error of an allocation after a change of the example's graph.
template <typename Change>
std::string error_after(const std::vector<TestWeight>& weights, const Change& change) {
  LoadedModel loaded(weights);
  change(&loaded);
  CHECK_EQ(kTfLiteError, loaded.allocate());
  return loaded.runtime.errors();
}

#define CHECK_ERROR(text, weights, ...)                                                        \
  do {                                                                                         \
    const std::string message = error_after(weights, [](LoadedModel* model) { __VA_ARGS__; }); \
    CHECK(nq_test::contains(message, text)) << message;                                        \
  } while (false)

TEST(tensors_must_match_the_options) {
  const auto weights = nq_test::example_weights();
  CHECK_ERROR("weight 'weight0': level 0 has type 9", weights, model->runtime.tensor(0 + 2).type = kTfLiteInt8);
  CHECK_ERROR("level 0 has type 3 and 1087 bytes", weights, model->runtime.tensor(2).bytes -= 1);
  CHECK_ERROR("expected type 3 and shape [1088]", weights, model->runtime.tensor(2).dims->data[0] = -1088);
  CHECK_ERROR("level 1 is not a constant", weights, model->runtime.tensor(3).allocation_type = 2);
  CHECK_ERROR("level 1 is not a constant", weights, model->runtime.tensor(3).data = nullptr);
  CHECK_ERROR("level 2 is in another file", weights, model->runtime.tensor(4).allocation = model);
  CHECK_ERROR("the section table", weights, model->runtime.tensor(0).type = kTfLiteInt8);
  CHECK_ERROR("the weight has type 1; expected 9", weights, model->runtime.tensor(5).type = kTfLiteFloat32);
  CHECK_ERROR("the weight is a constant", weights, model->runtime.tensor(5).allocation_type = kTfLiteMmapRo);
  CHECK_ERROR("shape is [21, 1, 5, 9]", weights, model->runtime.tensor(5).dims->data[0] = 21);
  CHECK_ERROR("shape is [20, 1, 5, 8]", weights, model->runtime.tensor(5).dims->data[3] = 8);
  CHECK_ERROR("shape is [20, -1, 5, -9]", weights, model->runtime.tensor(5).dims->data[1] = -1;
              model->runtime.tensor(5).dims->data[3] = -9);
  CHECK_ERROR("shape is [20]", weights, model->runtime.tensor(5).dims->size = 1);
  CHECK_ERROR("shape is [2, 3, 3, 70]", weights, model->runtime.tensor(model->weights[1]).dims->data[0] = 2);
  CHECK_ERROR("shape is [1, 3, 3, 71]", weights, model->runtime.tensor(model->weights[1]).dims->data[3] = 71);
  CHECK_ERROR("the bias has type 1", weights, model->runtime.tensor(6).type = kTfLiteFloat32);
  CHECK_ERROR("the bias output has type 1", weights, model->runtime.tensor(7).type = kTfLiteFloat32);
  CHECK_ERROR("has 5 inputs and 2 outputs; expected 6 and 2", weights, model->runtime.node(0).inputs->size -= 1);
  CHECK_ERROR("1 outputs", weights, model->runtime.node(0).outputs->size -= 1);
  CHECK_ERROR("no outputs", weights, model->runtime.node(0).outputs->size = 0);
  CHECK_ERROR("operand 0 is tensor -1", weights, model->runtime.node(0).inputs->data[0] = -1);
  CHECK_ERROR("operand 0 is tensor 99", weights, model->runtime.node(0).outputs->data[0] = 99);
  CHECK_ERROR("the operator has 0", weights, model->runtime.node(0).custom_initial_data = nullptr);
}

TEST(scales_must_be_valid) {
  const auto weights = nq_test::example_weights();
  const auto floats = float_weights();
  CHECK_ERROR("the weight has no scales", weights, model->runtime.tensor(5).quantization = {});
  CHECK_ERROR("has 19 scales; expected 1 or 20", weights, model->runtime.set_scales(5, std::vector<float>(19, 1), 0));
  CHECK_ERROR("has 0 scales", weights, model->runtime.set_scales(5, {}, 0));
  CHECK_ERROR("along dimension 1; expected 0", weights, model->runtime.set_scales(5, std::vector<float>(20, 1), 1));
  CHECK_ERROR("scale 0 of the weight is 0", weights, model->runtime.set_scales(5, {0}, 0));
  CHECK_ERROR("scale 0 of the weight is -1", weights, model->runtime.set_scales(5, {-1}, 0));
  CHECK_ERROR("is inf", weights, model->runtime.set_scales(5, {std::numeric_limits<float>::infinity()}, 0));
  CHECK_ERROR(
      "zero point 0 of the weight is 3", weights,
      static_cast<TfLiteAffineQuantization*>(model->runtime.tensor(5).quantization.params)->zero_point->data[0] = 3);
  CHECK_ERROR("scale 4 is -0.5", floats, model->scales[4] = -0.5f);
  CHECK_ERROR("scale 9 is nan", floats, model->scales[9] = std::numeric_limits<float>::quiet_NaN());
  CHECK_ERROR("the scale has type 1 and 76 bytes", floats, model->runtime.tensor(6).bytes -= 4);
}

std::vector<TestWeight> grouped_weight() {
  TestWeight weight = {nq_test::make_block(nq::Layout::kMatrix, 20, 192, {4, 2, 2}), {}, {}};
  weight.block.output_type = OutputType::kFloat32;
  weight.block.group_size = 64;
  weight.codes.assign(size_t{20} * 192, 3);
  return {weight};
}

TEST(group_scales_must_be_valid) {
  const auto weights = grouped_weight();
  LoadedModel whole(weights);
  CHECK_EQ(kTfLiteOk, whole.allocate());
  CHECK_ERROR("the group scale has type 1, shape [2, 3, 16] and 192 bytes; expected type 10", weights,
              model->runtime.tensor(7).type = kTfLiteFloat32);
  CHECK_ERROR("and 190 bytes", weights, model->runtime.tensor(7).bytes -= 2);
  CHECK_ERROR("shape [2, 4, 16] and", weights, model->runtime.tensor(7).dims->data[1] = 4);
  CHECK_ERROR("shape [2, 3] and", weights, model->runtime.tensor(7).dims->size = 2);
  CHECK_ERROR("the group scale is not a constant", weights, model->runtime.tensor(7).allocation_type = 2);
  CHECK_ERROR("the group scale is not a constant", weights, model->runtime.tensor(7).data = nullptr);
  CHECK_ERROR("group scale 5 has the bits 0x7c00", weights, model->group_scales[5] = 0x7c00);
  CHECK_ERROR("group scale 95 belongs to no channel", weights, model->group_scales[95] = 0x3c00);
  CHECK_ERROR("has 6 inputs and 1 outputs; expected 7 and 1", weights, model->runtime.node(0).inputs->size -= 1);
}

TEST(damage_is_reported_with_its_level) {
  LoadedModel damaged(nq_test::example_weights());
  damaged.file.bytes[damaged.file.sections[1].offset] ^= 1;
  CHECK_EQ(kTfLiteError, damaged.allocate());
  CHECK(nq_test::contains(damaged.runtime.errors(), "checksum of level 1 (6 bits)"));
  LoadedModel whole(nq_test::example_weights());
  CHECK_EQ(kTfLiteError, whole.allocate({{"precision", "5"}}));
  CHECK(nq_test::contains(whole.runtime.errors(), "[4, 6, 8]"));
}

void flip(std::mt19937* random, uint8_t* bytes, size_t size) {
  for (unsigned change = (*random)() % 3; change < 3; ++change) {
    bytes[(*random)() % size] ^= static_cast<uint8_t>(1u << (*random)() % 8);
  }
}

// Whatever the bytes are, the outcome is an error or a result: never a crash, never a sanitizer's complaint.
TEST(random_changes_of_options_and_table) {
  std::mt19937 random(9);
  int accepted = 0;
  for (int round = 0; round < 1000; ++round) {
    LoadedModel loaded(nq_test::example_weights());
    if (random() % 2 == 0) flip(&random, loaded.options[random() % 3]->data(), loaded.options[0]->size());
    if (random() % 2 == 0) {
      flip(&random, loaded.table.data(), loaded.table.size());
      nq_test::seal_table(&loaded.table);
      std::memcpy(loaded.file.bytes.data(), loaded.table.data(), loaded.table.size());
    }
    if (loaded.allocate({{"precision", random() % 2 == 0 ? "full" : "part"}}) != kTfLiteOk) {
      CHECK(!loaded.runtime.errors().empty());
      continue;
    }
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    ++accepted;
  }
  CHECK(accepted > 0);
}

TEST(versions) {
  CHECK_EQ(1001, nq_format_version());
  CHECK(*nq_version() != '\0');
}

TEST(the_kernel_of_each_kind) {
  const nq_kernel* kernels = nullptr;
  int32_t count = 0;
  const auto kinds_of = [&](const std::string& isa) {
    std::string kinds;
    CHECK_EQ(NQ_OK, nq_kernels(&kernels, &count));
    for (int32_t i = 0; i < count; ++i) {
      if (isa.empty() || isa == kernels[i].isa) kinds += std::string(kernels[i].kind) + " ";
    }
    return kinds;
  };
  CHECK_EQ(std::string("matrix depthwise unpack quantize addition elementwise checksum "), kinds_of(""));
  CHECK_EQ(std::string(kernels[0].isa), nq_isa());
  setenv("NQ_ISA", "scalar", 1);
  CHECK_EQ(kinds_of(""), kinds_of("scalar"));
#if defined(__SSE2__)
  setenv("NQ_ISA", "sse2", 1);
  CHECK_EQ(std::string("unpack "), kinds_of("sse2"));
  CHECK_EQ(std::string("scalar"), nq_isa());
#endif
  setenv("NQ_ISA", "mmx", 1);
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_kernels(&kernels, &count));
  CHECK(nq_test::contains(nq_last_error(), "NQ_ISA=mmx is not"));
  CHECK_EQ(std::string(), nq_isa());
  unsetenv("NQ_ISA");
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_kernels(nullptr, &count));
  CHECK_EQ(NQ_INVALID_ARGUMENT, nq_kernels(&kernels, nullptr));
}

}  // namespace
