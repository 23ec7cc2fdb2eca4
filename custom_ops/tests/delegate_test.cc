// The plugin from create to destroy, through its C entry points and a fake runtime.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "check.h"
#include "fake_runtime.h"
#include "nested_file.h"
#include "nq.h"
#include "short_memory.h"
#include "tflite_abi.h"

namespace {

using nq::Layout;
using nq::OutputType;
using nq_test::Bytes;
using nq_test::FakeRuntime;
using nq_test::NestedFile;
using nq_test::TestWeight;

std::string creation_error;
void keep_error(const char* message) { creation_error = message; }

TfLiteDelegate* create(std::vector<std::pair<std::string, std::string>> options) {
  std::vector<char*> keys, values;
  for (auto& [key, value] : options) {
    keys.push_back(key.data());
    values.push_back(value.data());
  }
  creation_error.clear();
  return tflite_plugin_create_delegate(keys.data(), values.data(), keys.size(), keep_error);
}

bool is_float(const TestWeight& weight) { return weight.block.output_type == OutputType::kFloat32; }

std::vector<int> shape_of(const nq::OptionBlock& block) {
  const int channels = static_cast<int>(block.channels), depth = static_cast<int>(block.depth);
  if (block.layout == Layout::kDepthwise) return {1, depth / 3, 3, channels};
  return depth % 5 == 0 ? std::vector<int>{channels, 1, 5, depth / 5} : std::vector<int>{channels, depth};
}

// A nested file, loaded by a runtime that has the delegate.
struct Loaded {
  explicit Loaded(std::vector<TestWeight> weights) : file(std::move(weights)) { load(); }

  void load() {
    table = nq_test::table_bytes(file.sections);
    const int sections = constant(kTfLiteUInt8, {static_cast<int>(table.size())}, file.bytes.data(), table.size());
    const int activation = runtime.add_output("activation", kTfLiteFloat32, {1});
    for (const TestWeight& weight : file.weights) add_operator(weight, sections, activation);
  }

  int constant(TfLiteType type, const std::vector<int>& shape, const void* data, size_t bytes) {
    return runtime.add_constant(type, shape, data, bytes);
  }

  void add_operator(const TestWeight& weight, int sections, int activation) {
    const nq::OptionBlock& block = weight.block;
    const int channels = static_cast<int>(block.channels);
    const TfLiteType bias_type = is_float(weight) ? kTfLiteFloat32 : kTfLiteInt32;
    std::vector<int> in, out;
    for (int k = 0; k < block.num_levels; ++k) {
      const size_t size = nq::level_bytes(block, k);
      const uint64_t start = file.sections[static_cast<size_t>(k)].offset + block.levels[k].offset;
      in.push_back(constant(kTfLiteUInt8, {static_cast<int>(size)}, file.bytes.data() + start, size));
    }
    in.insert(in.end(), {sections, activation});
    out.push_back(runtime.add_output("weight" + std::to_string(weights.size()),
                                     is_float(weight) ? kTfLiteFloat32 : kTfLiteInt8, shape_of(block)));
    if (is_float(weight)) {
      in.push_back(constant(kTfLiteFloat32, {channels}, scales.data(), 4 * block.channels));
    } else {
      runtime.set_scales(out[0], std::vector<float>(block.channels, 0.5f), block.layout == Layout::kMatrix ? 0 : 3);
    }
    if (block.has_bias) {
      in.push_back(constant(bias_type, {channels}, biases.data(), 4 * block.channels));
      out.push_back(runtime.add_output("bias", bias_type, {channels}));
    }
    options.push_back(std::make_unique<Bytes>(nq_test::option_bytes(block)));
    nodes.push_back(runtime.add_node("NQ_UNPACK_DEQUANT", in, out, *options.back()));
    weights.push_back(out[0]);
  }

  // With the delegate of these options; the runtime's own outcome.
  TfLiteStatus allocate(std::vector<std::pair<std::string, std::string>> settings = {}) {
    delegate.reset(create(std::move(settings)));
    if (!delegate || runtime.apply(delegate.get()) != kTfLiteOk) return kTfLiteError;
    return runtime.prepare();
  }

  void check_weights(int level) {
    for (size_t i = 0; i < weights.size(); ++i) {
      const nq::OptionBlock& block = file.weights[i].block;
      const TfLiteTensor& tensor = runtime.tensor(weights[i]);
      for (uint32_t c = 0; c < block.channels; ++c) {
        for (uint32_t d = 0; d < block.depth; ++d) {
          const int8_t code = file.weights[i].codes[size_t{c} * block.depth + d];
          const int8_t expected = nq_test::value_at_level(block, level, code, d);
          const size_t at = nq_test::consumer_index(block, c, d);
          if (is_float(file.weights[i])) {
            CHECK_EQ(static_cast<float>(expected) * scales[c], static_cast<const float*>(tensor.data)[at]);
          } else {
            CHECK_EQ(int{expected}, int{static_cast<const int8_t*>(tensor.data)[at]});
          }
        }
      }
    }
  }

  NestedFile file;
  Bytes table;
  std::vector<float> scales = std::vector<float>(1024, 0.25f);
  std::vector<int32_t> biases = std::vector<int32_t>(1024, 0);
  std::vector<std::unique_ptr<Bytes>> options;
  std::vector<int> nodes, weights;
  std::unique_ptr<TfLiteDelegate, void (*)(TfLiteDelegate*)> delegate{nullptr, tflite_plugin_destroy_delegate};
  FakeRuntime runtime;  // goes before its delegate
};

std::vector<TestWeight> float_weights() {
  std::vector<TestWeight> weights = nq_test::example_weights();
  for (TestWeight& weight : weights) weight.block.output_type = OutputType::kFloat32;
  return weights;
}

TEST(unpacks_every_weight_at_every_level) {
  for (const auto& weights : {nq_test::example_weights(), float_weights()}) {
    const nq_session session = nq_session_open();
    Loaded loaded(weights);
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
  Loaded loaded(nq_test::example_weights());
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
    Loaded loaded(weights);
    for (size_t c = 0; c < 20; ++c) loaded.biases[c] = static_cast<int32_t>(c) - 7;
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"precision", "full"}}));
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    const void* bias = loaded.runtime.tensor(loaded.weights[0] + (is_float(weights[0]) ? 3 : 2)).data;
    CHECK_EQ(0, std::memcmp(loaded.biases.data(), bias, 20 * sizeof(int32_t)));
  }
}

TEST(leaves_other_operators_alone) {
  Loaded loaded(nq_test::example_weights());
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
    Loaded loaded(nq_test::example_weights());
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

TEST(a_session_outlives_and_refuses) {
  const nq_session session = nq_session_open();
  const std::string handle = std::to_string(session);
  {
    Loaded loaded(nq_test::example_weights());
    CHECK_EQ(NQ_NOT_READY, nq_session_prepare(session));
    CHECK_EQ(kTfLiteOk, loaded.allocate({{"session", handle}, {"precision", "part"}}));
    CHECK(create({{"session", handle}}) == nullptr);
    CHECK(nq_test::contains(creation_error, "another delegate"));
  }
  CHECK_EQ(NQ_NOT_READY, nq_session_set_level(session, 0, 0, nullptr));
  CHECK(nq_test::contains(nq_last_error(), "no nested model"));
  Loaded again(nq_test::example_weights());
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
                                                     {"precison", "full"}};
  for (const auto& [key, value] : bad) {
    CHECK(create({{key, value}}) == nullptr);
    CHECK(nq_test::contains(creation_error, "expected"));
    CHECK(creation_error == nq_last_error());
  }
}

TEST(the_isa_can_be_forced) {
  setenv("NQ_ISA", "scalar", 1);
  CHECK_EQ(std::string("scalar"), nq_isa());
  {
    Loaded loaded(nq_test::example_weights());
    CHECK_EQ(kTfLiteOk, loaded.allocate());
    CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    loaded.check_weights(2);
  }
  setenv("NQ_ISA", "mmx", 1);
  CHECK_EQ(std::string(), nq_isa());
  CHECK(nq_test::contains(nq_last_error(), "NQ_ISA=mmx"));
  CHECK(create({}) == nullptr);
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
  Loaded loaded(weights);
  change(&loaded);
  CHECK_EQ(kTfLiteError, loaded.allocate());
  return loaded.runtime.errors();
}

#define CHECK_ERROR(text, weights, ...)                                                   \
  do {                                                                                    \
    const std::string message = error_after(weights, [](Loaded* model) { __VA_ARGS__; }); \
    if (!nq_test::contains(message, text)) nq_test::fail(__FILE__, __LINE__, message);    \
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

TEST(damage_is_reported_with_its_level) {
  Loaded damaged(nq_test::example_weights());
  damaged.file.bytes[damaged.file.sections[1].offset] ^= 1;
  CHECK_EQ(kTfLiteError, damaged.allocate());
  CHECK(nq_test::contains(damaged.runtime.errors(), "checksum of level 1 (6 bits)"));
  Loaded whole(nq_test::example_weights());
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
    Loaded loaded(nq_test::example_weights());
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

// Calls `act` with its first allocation failing, its second one, and so on, until none has failed; `act` says whether
// it has succeeded. Without memory for good at last.
template <typename Act>
int survive(const Act& act) {
  int failures = 0;
  for (const bool for_good : {false, true}) {
    for (uint64_t nth = 1;; ++nth) {
      nq_test::fail_allocation(nth, for_good);
      const bool succeeded = act();
      if (!nq_test::stop_failing()) {
        CHECK(succeeded);
        break;
      }
      ++failures;
      if (!succeeded) CHECK(*nq_last_error() != '\0');
    }
  }
  return failures;
}

// The runtime's own memory is never short: what is tested is the library.
TfLiteContext runtime_calls;
TfLiteRegistration node_calls;

void* init_node(TfLiteContext* context, const char* buffer, size_t size) {
  const nq_test::Pause again(false);
  return node_calls.init(context, buffer, size);
}

void keep_memory_for_runtime(TfLiteContext* context) {
  runtime_calls = *context;
  context->GetExecutionPlan = [](TfLiteContext* runtime, TfLiteIntArray** plan) {
    const nq_test::Pause pause;
    return runtime_calls.GetExecutionPlan(runtime, plan);
  };
  context->ResizeTensor = [](TfLiteContext* runtime, TfLiteTensor* tensor, TfLiteIntArray* shape) {
    const nq_test::Pause pause;
    return runtime_calls.ResizeTensor(runtime, tensor, shape);
  };
  context->ReplaceNodeSubsetsWithDelegateKernels = [](TfLiteContext* runtime, TfLiteRegistration registration,
                                                      const TfLiteIntArray* nodes, TfLiteDelegate* delegate) {
    const nq_test::Pause pause;
    node_calls = registration;
    registration.init = init_node;
    return runtime_calls.ReplaceNodeSubsetsWithDelegateKernels(runtime, registration, nodes, delegate);
  };
}

TEST(every_allocation_of_a_session_may_fail) {
  Loaded loaded(nq_test::example_weights());
  nq_session session = 0;
  CHECK(survive([&] {
          nq_session_close(session);
          return (session = nq_session_open()) != 0;
        }) > 0);
  std::string handle = std::to_string(session);
  char key[] = "session";
  char* keys[] = {key};
  char* values[] = {handle.data()};
  CHECK(survive([&] {
          loaded.delegate.reset();
          loaded.delegate.reset(tflite_plugin_create_delegate(keys, values, 1, nullptr));
          return loaded.delegate != nullptr;
        }) > 0);
  CHECK_EQ(kTfLiteOk, loaded.runtime.apply(loaded.delegate.get()));
  CHECK(survive([&] { return nq_session_prepare(session) == NQ_OK; }) > 0);
  CHECK_EQ(kTfLiteOk, loaded.runtime.prepare());
  int32_t level = -1;
  for (const int wanted : {0, 2, 1, 0, 2}) {
    CHECK_EQ(NQ_OK, nq_session_get_level(session, &level));
    const int before = level;
    survive([&] {
      const bool switched = nq_session_set_level(session, wanted, 0, nullptr) == NQ_OK;
      CHECK_EQ(NQ_OK, nq_session_get_level(session, &level));
      CHECK_EQ(switched ? wanted : before, level);
      if (switched) CHECK_EQ(NQ_OK, nq_session_set_level(session, before, 0, nullptr));
      return switched;
    });
    CHECK_EQ(NQ_OK, nq_session_set_level(session, wanted, 0, nullptr));
    survive([&] { return loaded.runtime.invoke() == kTfLiteOk; });
    loaded.check_weights(wanted);
  }
  uint64_t size = 0, resident = 0;
  survive([&] { return nq_session_memory(session, 0, &size, &resident, nullptr) == NQ_OK; });
  const nq_operator* operators = nullptr;
  CHECK(survive([&] { return nq_session_delegation(session, &operators, &level, nullptr) == NQ_OK; }) > 0);
  CHECK(survive([&] { return nq_session_set_level(session, 9, 0, nullptr) == NQ_INVALID_ARGUMENT; }) > 0);
  nq_session_close(session);
}

TEST(every_allocation_of_a_claim_may_fail) {
  // What has failed may be applied anew, and no weight of a node that was not built stays in the session.
  const nq_session session = nq_session_open();
  for (uint64_t nth = 1, failed = 1; failed != 0; ++nth) {
    Loaded loaded(nq_test::example_weights());
    loaded.delegate.reset(create({{"session", std::to_string(session)}}));
    CHECK(loaded.delegate != nullptr);
    keep_memory_for_runtime(loaded.runtime.context());
    nq_test::fail_allocation(nth, false);
    const bool applied = loaded.runtime.apply(loaded.delegate.get()) == kTfLiteOk;
    const bool prepared = applied && loaded.runtime.prepare() == kTfLiteOk;
    failed = nq_test::stop_failing() ? 1 : 0;
    CHECK(failed != 0 || prepared);
    if (prepared) CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
  }
  nq_session_close(session);
}

TEST(versions) {
  CHECK_EQ(1000, nq_format_version());
  CHECK(*nq_version() != '\0');
}

}  // namespace
