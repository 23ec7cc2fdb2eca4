// Levels that a runtime hides, found in the file mapping; and the flatbuffer reader that finds them, on damaged bytes.
#include "nodes/hidden_levels.h"

#include <algorithm>
#include <random>

#include "check.h"
#include "fake_runtime.h"
#include "format/flatbuffer.h"
#include "guarded.h"
#include "naive_flatbuffer.h"
#include "nested_file.h"

namespace {

using nq_test::Bytes;
using nq_test::FakeRuntime;
using nq_test::Flatbuffer;
using nq_test::FlatbufferBuffer;
using nq_test::FlatbufferTensor;
using nq_test::MappedFile;

constexpr size_t kRootBytes = 4096;
constexpr uint64_t kLevelBytes = 640;

// A model with one weight of two levels, as its file has it. Tensor 0 is another one: indices are the runtime's.
struct Model {
  std::vector<FlatbufferTensor> tensors = {{"image", 0}, {"level 0", 1}, {"level 1", 2}};
  std::vector<FlatbufferBuffer> buffers = {{}, {kRootBytes, kLevelBytes}, {kRootBytes + kLevelBytes, kLevelBytes}};

  // `before`: bytes of something else in front of the model.
  Bytes file(size_t before = 0) const {
    Bytes bytes(before, 0x5A);
    const Flatbuffer root = nq_test::flatbuffer_of(tensors, buffers);
    bytes.insert(bytes.end(), root.bytes.begin(), root.bytes.end());
    bytes.resize(before + kRootBytes + 2 * kLevelBytes);
    return bytes;
  }
};

// A runtime that has loaded the model at `data` and hides its levels.
class Runtime {
 public:
  Runtime(const Model& model, const uint8_t* data) : data_(data) {
    const std::vector<size_t> names = nq_test::flatbuffer_of(model.tensors, model.buffers).names;
    const int image = runtime.add_output("", kTfLiteUInt8, {4});
    for (size_t k = 0; k < 2; ++k) {
      const int level = runtime.add_output("", kTfLiteUInt8, {static_cast<int>(kLevelBytes)});
      runtime.tensor(level).name = reinterpret_cast<const char*>(data + names[k + 1]);
      runtime.tensor(level).bytes = kLevelBytes;
    }
    runtime.tensor(image).name = reinterpret_cast<const char*>(data + names[0]);
    runtime.add_node("NQ_UNPACK_DEQUANT", {1, 2, image, image}, {image}, options_);
  }

  nq::Status show() { return nq::show_hidden_levels(runtime.context()); }
  bool is_shown(int level) {
    const TfLiteTensor& tensor = runtime.tensor(level + 1);
    const uint8_t* expected = data_ + kRootBytes + static_cast<size_t>(level) * kLevelBytes;
    return tensor.data == expected && tensor.allocation_type == kTfLiteMmapRo;
  }
  bool is_hidden(int level) {
    const TfLiteTensor& tensor = runtime.tensor(level + 1);
    return tensor.data == nullptr && tensor.allocation_type != kTfLiteMmapRo;
  }

  FakeRuntime runtime;

 private:
  const uint8_t* data_;
  const Bytes options_ = nq_test::option_bytes(nq_test::make_block(nq::Layout::kMatrix, 16, 32, {5, 3}));
};

// What becomes of a changed model.
template <typename Change>
nq::Status show_changed(const Change& change) {
  Model model;
  change(&model);
  const MappedFile mapped(model.file());
  return Runtime(model, mapped.data()).show();
}

TEST(levels_are_found_in_the_mapped_file) {
  const Model model;
  const MappedFile mapped(model.file());
  Runtime loaded(model, mapped.data());
  CHECK(loaded.is_hidden(0) && loaded.is_hidden(1));
  CHECK_OK(loaded.show());
  CHECK(loaded.is_shown(0) && loaded.is_shown(1));
  CHECK(loaded.runtime.tensor(0).data == nullptr);  // computed, and of the levels' type
  CHECK_OK(loaded.show());
  CHECK(loaded.is_shown(0) && loaded.is_shown(1));
}

TEST(a_model_inside_another_file_is_found) {
  for (const size_t before : {4u, 60u, 4000u}) {
    const Model model;
    const MappedFile mapped(model.file(before));
    Runtime loaded(model, mapped.data() + before);
    CHECK_OK(loaded.show());
    CHECK(loaded.is_shown(0) && loaded.is_shown(1));
  }
}

TEST(levels_with_data_keep_it) {
  const Model model;
  const Bytes bytes = model.file();
  Runtime loaded(model, bytes.data());
  for (int level = 1; level <= 2; ++level) {
    loaded.runtime.tensor(level).data = &loaded;
    loaded.runtime.tensor(level).allocation_type = kTfLiteMmapRo;
  }
  CHECK_OK(loaded.show());
  CHECK(loaded.runtime.tensor(1).data == &loaded && loaded.runtime.tensor(2).data == &loaded);
}

TEST(without_a_mapping_the_reason_is_said) {
  const Model model;
  const Bytes bytes = model.file();
  Runtime loaded(model, bytes.data());
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "load it with TfLiteModelCreateFromFile", loaded.show());
  CHECK(loaded.is_hidden(0) && loaded.is_hidden(1));
}

TEST(buffers_must_be_the_tensors_and_inside_the_file) {
  CHECK_FAILS(NQ_INVALID_MODEL, "tensor 'level 0' of 640 bytes has 576 bytes",
              show_changed([](Model* model) { model->buffers[1].size -= 64; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside the file",
              show_changed([](Model* model) { model->buffers[2].offset = 1 << 20; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside the file",
              show_changed([](Model* model) { model->buffers[1].offset = UINT64_MAX - 63; }));
  CHECK_FAILS(NQ_INVALID_MODEL, "inside the file", show_changed([](Model* model) { model->buffers[2].offset += 1; }));
}

TEST(a_mapping_of_something_else_is_refused) {
  const Model model;
  Bytes bytes = model.file();
  bytes[7] = '2';  // of "TFL3"
  const MappedFile mapped(bytes);
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "not mapped from a file", Runtime(model, mapped.data()).show());
}

// A tensor that is not one of the file's constants is left alone: binding it says that it is none.
TEST(a_computed_level_stays_hidden) {
  for (const uint32_t buffer : {0u, 7u}) {
    Model model;
    model.tensors[1].buffer = buffer;
    const MappedFile mapped(model.file());
    Runtime loaded(model, mapped.data());
    CHECK_OK(loaded.show());
    CHECK(loaded.is_hidden(0) && loaded.is_shown(1));
  }
}

// Before, each of 2^32 - 1 graphs was looked for.
TEST(counts_beyond_the_file_are_no_counts) {
  const Model model;
  Bytes bytes = model.file();
  const nq::ByteSpan file = {bytes.data(), bytes.size()};
  CHECK(nq::flatbuffer_root(file)->vector(2).has_value());
  const uint8_t* count = nq::flatbuffer_root(file)->vector_data(2) - 4;
  std::fill_n(bytes.begin() + (count - bytes.data()), 4, uint8_t{0xFF});
  CHECK(!nq::flatbuffer_root(file)->vector(2));
  const MappedFile mapped(bytes);
  CHECK_FAILS(NQ_INVALID_ARGUMENT, "not mapped from a file", Runtime(model, mapped.data()).show());
}

// Visits all that show_hidden_levels() may.
uint64_t walk(nq::ByteSpan file) {
  uint64_t sum = 0;
  const auto root = nq::flatbuffer_root(file);
  for (const int field : {0, 1, 2, 3, 4, 30000}) {
    const auto tables = root ? root->vector(field) : std::nullopt;
    for (uint32_t i = 0; tables && i < std::min(tables->size(), 64u); ++i) {
      const auto table = tables->table(i);
      if (!table) continue;
      const uint8_t* data = table->vector_data(3);
      sum +=
          table->u32(2) + table->u64(1) + table->u64(2) + (data != nullptr && data < file.data + file.size ? *data : 0);
    }
  }
  return sum;
}

TEST(nothing_outside_the_bytes_is_read) {
  const Flatbuffer whole = nq_test::flatbuffer_of(Model().tensors, Model().buffers);
  std::mt19937 random(11);
  for (size_t size = 0; size <= whole.bytes.size(); ++size) {
    nq_test::Guarded<uint8_t> bytes(size);
    std::copy_n(whole.bytes.begin(), size, bytes.data());
    walk({bytes.data(), size});
    for (int round = 0; size > 0 && round < 200; ++round) {
      bytes.data()[random() % size] = static_cast<uint8_t>(random());
      walk({bytes.data(), size});
    }
  }
}

}  // namespace
