// Nested weights as a delegate binds, checks, places and unpacks them, without a runtime's own checks before: edits
// (edits.h) of all that an operator and its tensors say, and of the levels' bytes.
//
// An input is: u8 switches, then edits.
#include <algorithm>
#include <cstring>

#include "allocation.h"
#include "edits.h"
#include "expect.h"
#include "fake_runtime.h"
#include "format/crc32.h"
#include "nested_file.h"
#include "nq.h"

namespace {

using nq_fuzz::Sites;
using nq_test::Bytes;

enum Switch { kUnsealed = 1, kPartBit = 2 };

// What the edits of a group may touch.
enum Group { kOptions, kTable, kLevels, kTensors, kShapes, kScales, kConstants, kGroups };

std::vector<nq_test::TestWeight> small_weights() {
  std::mt19937 random(5);
  std::vector<nq_test::TestWeight> weights(3);
  weights[0].block = nq_test::make_block(nq::Layout::kMatrix, 18, 35, {4, 2, 2});
  weights[1].block = nq_test::make_block(nq::Layout::kDepthwise, 20, 9, {4, 2, 2});
  weights[2].block = nq_test::make_block(nq::Layout::kMatrix, 7, 12, {4, 2, 2});
  weights[0].block.has_bias = true;
  weights[2].block.output_type = nq::OutputType::kFloat32;
  for (nq_test::TestWeight& weight : weights) {
    weight.codes = nq_test::random_codes(weight.block, &random);
    for (int k = 0; weight.block.has_bias && k < 3; ++k) {
      weight.block.levels[k].bias_step = k == 2 ? 0 : 0.25f;
      weight.deltas.emplace_back(weight.block.channels, static_cast<uint8_t>(random()));
    }
  }
  return weights;
}

const nq_test::NestedFile& small_file() {
  static const nq_test::NestedFile file(small_weights());
  return file;
}

// The file, loaded by a runtime, with everything that edits may touch as its own copy.
class Loaded {
 public:
  void edit(const uint8_t* data, size_t size, bool sealed) {
    nq_fuzz::apply_edits(data, size, load());
    if (sealed) seal();
  }

  // Every precision, as far as the delegate lets it.
  void run(TfLiteDelegate* delegate, nq_session session) {
    if (runtime_.apply(delegate) != kTfLiteOk || runtime_.prepare() != kTfLiteOk) return;
    for (int32_t level = 2; level >= 0; --level) {
      EXPECT(runtime_.invoke() == kTfLiteOk);
      static_cast<void>(nq_session_set_level(session, level, 0, nullptr));
    }
    EXPECT(runtime_.invoke() == kTfLiteOk);
  }

 private:
  std::vector<Sites> load() {
    std::vector<Sites> sites(kGroups);
    const size_t table_bytes = nq_test::table_bytes(file_.sections).size();
    add_words(&sites[kTable], bytes_.data(), table_bytes);
    for (const nq_test::SectionEntry& section : file_.sections) {
      for (uint64_t i = 0; i < section.size; ++i) sites[kLevels].push_back({bytes_.data() + section.offset + i, 1});
    }
    const int table = runtime_.add_constant(kTfLiteUInt8, {static_cast<int>(table_bytes)}, bytes_.data(), table_bytes);
    const int activation = runtime_.add_output("x", kTfLiteFloat32, {1});
    options_.reserve(file_.weights.size());
    for (const nq_test::TestWeight& weight : file_.weights) {
      add_operator(weight, {table, activation});
    }
    add_tensor_sites(&sites);
    for (Bytes& block : options_) {
      for (uint8_t& byte : block) sites[kOptions].push_back({&byte, 1});
      add_words(&sites[kOptions], block.data(), block.size());
    }
    for (float& value : scales_) sites[kConstants].push_back({reinterpret_cast<uint8_t*>(&value), 4});
    return sites;
  }

  void add_operator(const nq_test::TestWeight& weight, const std::vector<int>& shared) {
    const nq::OptionBlock& block = weight.block;
    const int channels = static_cast<int>(block.channels), depth = static_cast<int>(block.depth);
    const bool is_float = block.output_type == nq::OutputType::kFloat32;
    std::vector<int> in, out;
    for (int k = 0; k < block.num_levels; ++k) {
      const auto size = static_cast<size_t>(nq::level_bytes(block, k));
      const uint64_t start = file_.sections[static_cast<size_t>(k)].offset + block.levels[k].offset;
      in.push_back(runtime_.add_constant(kTfLiteUInt8, {static_cast<int>(size)}, bytes_.data() + start, size));
    }
    in.insert(in.end(), shared.begin(), shared.end());
    const bool depthwise = block.layout == nq::Layout::kDepthwise;
    const std::vector<int> shape =
        depthwise ? std::vector<int>{1, depth / 3, 3, channels} : std::vector<int>{channels, depth};
    out.push_back(runtime_.add_output("w", is_float ? kTfLiteFloat32 : kTfLiteInt8, shape));
    if (!is_float) runtime_.set_scales(out[0], std::vector<float>(block.channels, 0.5f), depthwise ? 3 : 0);
    if (is_float) in.push_back(runtime_.add_constant(kTfLiteFloat32, {channels}, scales_.data(), 4 * block.channels));
    if (block.has_bias) {
      in.push_back(runtime_.add_constant(kTfLiteInt32, {channels}, biases_.data(), 4 * block.channels));
      out.push_back(runtime_.add_output("b", kTfLiteInt32, {channels}));
    }
    options_.push_back(nq_test::option_bytes(block));
    runtime_.add_node("NQ_UNPACK_DEQUANT", in, out, options_.back());
  }

  // What a runtime does not promise: a constant's bytes are its, but its type, shape and scales are the file's.
  void add_tensor_sites(std::vector<Sites>* sites) {
    for (int index = 0; index < static_cast<int>(runtime_.context()->tensors_size); ++index) {
      TfLiteTensor& tensor = runtime_.tensor(index);
      add_number(&(*sites)[kTensors], &tensor.type);
      for (int i = 0; i < tensor.dims->size; ++i) add_number(&(*sites)[kShapes], &tensor.dims->data[i]);
      auto* affine = static_cast<TfLiteAffineQuantization*>(tensor.quantization.params);
      if (affine == nullptr) continue;
      add_number(&(*sites)[kScales], &affine->quantized_dimension);
      for (int i = 0; i < affine->scale->size; ++i) add_number(&(*sites)[kScales], &affine->scale->data[i]);
      for (int i = 0; i < affine->zero_point->size; ++i) add_number(&(*sites)[kScales], &affine->zero_point->data[i]);
    }
  }

  template <typename T>
  static void add_number(Sites* sites, T* number) {
    sites->push_back({reinterpret_cast<uint8_t*>(number), sizeof(T)});
  }
  static void add_words(Sites* sites, uint8_t* bytes, size_t size) {
    for (size_t i = 0; i + 4 <= size; i += 4) sites->push_back({bytes + i, 4});
    for (size_t i = 0; i + 8 <= size; i += 8) sites->push_back({bytes + i, 8});
  }

  void seal() {
    Bytes table(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(nq_test::table_bytes(file_.sections).size()));
    for (size_t k = 0; k < file_.sections.size(); ++k) {
      const nq_test::SectionEntry& section = file_.sections[k];
      const uint32_t crc = nq::crc32(bytes_.data() + section.offset, section.size);
      std::memcpy(table.data() + nq::kTableHeaderBytes + nq::kTableSectionBytes * k + 16, &crc, sizeof(crc));
    }
    nq_test::seal_table(&table);
    std::copy(table.begin(), table.end(), bytes_.begin());
  }

  const nq_test::NestedFile& file_ = small_file();
  Bytes bytes_ = file_.bytes;
  std::vector<Bytes> options_;
  std::vector<float> scales_ = std::vector<float>(64, 0.25f);
  std::vector<int32_t> biases_ = std::vector<int32_t>(64, 3);
  nq_test::FakeRuntime runtime_;  // goes before its delegate
};

TfLiteDelegate* create_delegate(nq_session session, int switches) {
  std::string handle = std::to_string(session);
  char names[3][10] = {"session", "precision", "fuse"}, part[] = "part", full[] = "full", unfused[] = "0";
  char* keys[] = {names[0], names[1], names[2]};
  char* values[] = {handle.data(), switches & kPartBit ? part : full, unfused};
  TfLiteDelegate* delegate = tflite_plugin_create_delegate(keys, values, 3, nullptr);
  EXPECT(delegate != nullptr);
  return delegate;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 1) return 0;
  const nq_session session = nq_session_open();
  TfLiteDelegate* delegate = create_delegate(session, data[0]);
  {
    const nq_fuzz::LittleMemory little;
    Loaded model;
    model.edit(data + 1, size - 1, (data[0] & kUnsealed) == 0);
    model.run(delegate, session);
  }
  tflite_plugin_destroy_delegate(delegate);
  nq_session_close(session);
  return 0;
}
