// A nested file under a fake runtime that has the plugin's delegate.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "fake_runtime.h"
#include "nested_file.h"
#include "nq.h"
#include "tflite_abi.h"

namespace nq_test {

// What the plugin has said of the last delegate that it did not create.
inline std::string creation_error;
inline void keep_error(const char* message) { creation_error = message; }

inline TfLiteDelegate* create_delegate(std::vector<std::pair<std::string, std::string>> options) {
  std::vector<char*> keys, values;
  for (auto& [key, value] : options) {
    keys.push_back(key.data());
    values.push_back(value.data());
  }
  creation_error.clear();
  return tflite_plugin_create_delegate(keys.data(), values.data(), keys.size(), keep_error);
}

inline bool is_float(const TestWeight& weight) { return weight.block.output_type == nq::OutputType::kFloat32; }

inline std::vector<int> shape_of(const nq::OptionBlock& block) {
  const int channels = static_cast<int>(block.channels), depth = static_cast<int>(block.depth);
  if (block.layout == nq::Layout::kDepthwise) return {1, depth / 3, 3, channels};
  return depth % 5 == 0 ? std::vector<int>{channels, 1, 5, depth / 5} : std::vector<int>{channels, depth};
}

// A nested file, loaded by a runtime that has the delegate.
struct LoadedModel {
  explicit LoadedModel(std::vector<TestWeight> weights) : file(std::move(weights)) { load(); }

  void load() {
    table = table_bytes(file.sections);
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
      if (block.group_size != 0) in.push_back(group_scale(block));
    } else {
      runtime.set_scales(out[0], std::vector<float>(block.channels, 0.5f), block.layout == nq::Layout::kMatrix ? 0 : 3);
    }
    if (block.has_bias) {
      in.push_back(constant(bias_type, {channels}, biases.data(), 4 * block.channels));
      out.push_back(runtime.add_output("bias", bias_type, {channels}));
    }
    options.push_back(std::make_unique<Bytes>(option_bytes(block)));
    nodes.push_back(runtime.add_node("NQ_UNPACK_DEQUANT", in, out, *options.back()));
    weights.push_back(out[0]);
  }

  // 1.0 for each group of each channel. Only one weight may have groups.
  int group_scale(const nq::OptionBlock& block) {
    const auto groups = static_cast<int>(nq::num_groups(block));
    group_scales.assign(nq::num_group_scales(block), 0);
    const auto blocks = static_cast<int>(group_scales.size()) / groups / 16;
    for (size_t i = 0; i < group_scales.size(); ++i) {
      const size_t channel = i / (16 * static_cast<size_t>(groups)) * 16 + i % 16;
      if (channel < block.channels) group_scales[i] = 0x3c00;
    }
    return constant(kTfLiteFloat16, {blocks, groups, 16}, group_scales.data(), 2 * group_scales.size());
  }

  // With the delegate of these options; the runtime's own outcome.
  TfLiteStatus allocate(std::vector<std::pair<std::string, std::string>> settings = {}) {
    delegate.reset(create_delegate(std::move(settings)));
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
          const int8_t expected = value_at_level(block, level, code, d);
          const size_t at = reader_index(block, c, d);
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
  std::vector<uint16_t> group_scales;
  std::vector<int32_t> biases = std::vector<int32_t>(1024, 0);
  std::vector<std::unique_ptr<Bytes>> options;
  std::vector<int> nodes, weights;
  std::unique_ptr<TfLiteDelegate, void (*)(TfLiteDelegate*)> delegate{nullptr, tflite_plugin_destroy_delegate};
  FakeRuntime runtime;  // goes before its delegate
};

}  // namespace nq_test
