// The delegate under TFLite's own C library, with edited nested files.
//
// An input is: u8 seed, u8 switches, and edits (edits.h) of that seed's sites (model_sites.h). TFLite runs its
// flatbuffer verifier over every file first. Its own operators trust what they read, so they run only where an edited
// file cannot differ for them: where nothing but what this library reads was edited, or where the delegate has taken
// every operator. Otherwise the file gets as far as the delegate's claims and checks, and no further.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "allocation.h"
#include "expect.h"
#include "format/crc32.h"
#include "format/section_table.h"
#include "model_sites.h"
#include "nq.h"
#include "tflite.h"
#include "tflite_abi.h"

namespace {

using nq_fuzz::tflite;
using Bytes = std::vector<uint8_t>;

enum Switch { kUnsealed = 1, kPartBit = 2, kUnfused = 4, kThreads = 8, kResized = 16 };

constexpr size_t kMaxTensorBytes = 1 << 16;

void ignore(void*, const char*, va_list) {}

std::vector<Bytes> read_seeds() {
  const char* folder = std::getenv("NQ_FUZZ_SEEDS");
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder == nullptr ? NQ_FUZZ_SEEDS : folder)) {
    if (entry.path().extension() == ".tflite") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());  // inputs name them by number
  std::vector<Bytes> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  EXPECT(!seeds.empty());
  return seeds;
}

// Checksums that fit the edited bytes, where the table still speaks of the file: nobody guesses one.
void seal(Bytes* file, uint8_t* table) {
  const auto num_sections = nq::load<uint32_t>(table + 12);
  for (uint32_t i = 0; i < std::min<uint32_t>(num_sections, nq::kMaxLevels); ++i) {
    uint8_t* entry = table + nq::kTableHeaderBytes + nq::kTableSectionBytes * i;
    const auto offset = nq::load<uint64_t>(entry), size = nq::load<uint64_t>(entry + 8);
    if (offset > file->size() || size > file->size() - offset) continue;
    const uint32_t crc = nq::crc32(file->data() + offset, static_cast<size_t>(size));
    std::memcpy(entry + 16, &crc, sizeof(crc));
  }
  const auto declared = nq::load<uint32_t>(table + 8);
  const auto room = static_cast<size_t>(file->data() + file->size() - table);
  if (declared < nq::kTableChecksumBytes || declared > room) return;
  const uint32_t crc = nq::crc32(table, declared - nq::kTableChecksumBytes);
  std::memcpy(table + declared - nq::kTableChecksumBytes, &crc, sizeof(crc));
}

class Seed {
 public:
  explicit Seed(Bytes bytes) : pristine_(std::move(bytes)), file_(pristine_), sites_(nq_fuzz::find_sites(&file_)) {}
  Seed(const Seed&) = delete;
  Seed& operator=(const Seed&) = delete;

  // The edited file, until the next call, and which groups were edited.
  Bytes& edit(const uint8_t* data, size_t size, bool sealed, uint64_t* groups) {
    file_.assign(pristine_.begin(), pristine_.end());  // in place: the sites point there
    *groups = nq_fuzz::apply_edits(data, size, sites_.groups);
    if (sealed) seal(&file_, sites_.table);
    return file_;
  }

 private:
  const Bytes pristine_;
  Bytes file_;
  nq_fuzz::ModelSites sites_;
};

std::deque<Seed>& seeds() {
  static std::deque<Seed> all;
  if (!all.empty()) return all;
  for (Bytes& bytes : read_seeds()) all.emplace_back(std::move(bytes));
  return all;
}

// One file for all inputs, written over: a file system that sees it truncated and closed writes it to its disk at once.
class ModelFile {
 public:
  ModelFile() : path_((std::filesystem::temp_directory_path() / "nq_fuzz_XXXXXX").string()) {
    descriptor_ = mkstemp(path_.data());
    EXPECT(descriptor_ >= 0);
  }
  ~ModelFile() { unlink(path_.c_str()); }

  const std::string& write(const Bytes& bytes) const {
    const auto size = static_cast<off_t>(bytes.size());
    EXPECT(pwrite(descriptor_, bytes.data(), bytes.size(), 0) == size && ftruncate(descriptor_, size) == 0);
    return path_;
  }

 private:
  std::string path_;
  int descriptor_;
};

TfLiteDelegate* create_delegate(nq_session session, int switches) {
  std::string handle = std::to_string(session);
  char names[5][12] = {"session", "precision", "fuse", "num_threads", "profile"};
  char precision[] = "part", full[] = "full", fuse[] = "1", unfused[] = "0", one[] = "1", two[] = "2";
  char* keys[] = {names[0], names[1], names[2], names[3], names[4]};
  char* values[] = {handle.data(), switches & kPartBit ? precision : full, switches & kUnfused ? unfused : fuse,
                    switches & kThreads ? two : one, switches & kThreads ? one : unfused};
  TfLiteDelegate* delegate = tflite_plugin_create_delegate(keys, values, 5, nullptr);
  EXPECT(delegate != nullptr);
  return delegate;
}

bool all_fused(nq_session session) {
  const nq_operator* operators = nullptr;
  int32_t count = 0, num_partitions = 0;
  if (nq_session_delegation(session, &operators, &count, &num_partitions) != NQ_OK) return false;
  return std::all_of(operators, operators + count, [](const nq_operator& each) { return each.place == NQ_FUSED; });
}

class Interpreter {
 public:
  // `file` is what stands at `path`.
  Interpreter(const std::string& path, Bytes* file, TfLiteDelegate* delegate) {
    model_ = tflite().ModelCreateFromFileWithErrorReporter(path.c_str(), ignore, nullptr);
    if (model_ == nullptr || !nq_fuzz::is_complete(file->data())) return;  // the verifier refuses it, or should
    auto* options = tflite().InterpreterOptionsCreate();
    tflite().InterpreterOptionsSetErrorReporter(options, ignore, nullptr);
    tflite().InterpreterOptionsSetNumThreads(options, 1);
    tflite().InterpreterOptionsAddDelegate(options, delegate);
    interpreter_ = tflite().InterpreterCreate(model_, options);
    tflite().InterpreterOptionsDelete(options);
  }
  ~Interpreter() {
    if (interpreter_ != nullptr) tflite().InterpreterDelete(interpreter_);
    if (model_ != nullptr) tflite().ModelDelete(model_);
  }
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  explicit operator bool() const { return interpreter_ != nullptr; }

  // False if inputs or outputs are larger than a fuzzer should compute, too.
  bool allocate(bool resized) {
    const int32_t count = tflite().InterpreterGetInputTensorCount(interpreter_);
    for (int32_t i = 0; i < count; ++i) {
      if (resized) {
        const int shape[] = {2, 7, 5, 16};
        static_cast<void>(tflite().InterpreterResizeInputTensor(interpreter_, i, shape, 4));
      }
      if (bytes_of(tflite().InterpreterGetInputTensor(interpreter_, i)) > kMaxTensorBytes) return false;
    }
    if (tflite().InterpreterAllocateTensors(interpreter_) != 0) return false;
    for (int32_t i = 0; i < tflite().InterpreterGetOutputTensorCount(interpreter_); ++i) {
      if (bytes_of(tflite().InterpreterGetOutputTensor(interpreter_, i)) > kMaxTensorBytes) return false;
    }
    return true;
  }

  void invoke() {
    for (int32_t i = 0; i < tflite().InterpreterGetInputTensorCount(interpreter_); ++i) {
      TfLiteTensor* tensor = tflite().InterpreterGetInputTensor(interpreter_, i);
      auto* data = static_cast<uint8_t*>(data_of(tensor));
      if (data == nullptr || tensor->allocation_type == kTfLiteMmapRo) continue;  // an input that is a constant
      for (size_t k = 0; k < bytes_of(tensor); ++k) data[k] = static_cast<uint8_t>(37 * k + 11);
    }
    if (tflite().InterpreterInvoke(interpreter_) != 0) return;
    uint64_t sum = 0;
    for (int32_t i = 0; i < tflite().InterpreterGetOutputTensorCount(interpreter_); ++i) {
      const TfLiteTensor* tensor = tflite().InterpreterGetOutputTensor(interpreter_, i);
      const auto* data = static_cast<const uint8_t*>(data_of(tensor));
      for (size_t k = 0; data != nullptr && k < bytes_of(tensor); ++k) sum += data[k];
    }
    static volatile uint64_t sink;
    sink = sink + sum;
  }

 private:
  static size_t bytes_of(const TfLiteTensor* tensor) { return tensor == nullptr ? 0 : tflite().TensorByteSize(tensor); }
  static void* data_of(const TfLiteTensor* tensor) { return tensor == nullptr ? nullptr : tflite().TensorData(tensor); }

  nq_fuzz::TfLiteModel* model_ = nullptr;
  nq_fuzz::TfLiteInterpreter* interpreter_ = nullptr;
};

// Every precision up and down, as far as its checksums let it.
void run(nq_session session, Interpreter* interpreter) {
  int32_t count = 0, bits[nq::kMaxLevels] = {};
  EXPECT(nq_session_levels(session, &count, bits, nq::kMaxLevels) == NQ_OK);
  interpreter->invoke();
  for (int32_t level = count - 1; level >= 0; --level) {
    nq_switch_result done = {};
    const nq_status status = nq_session_set_level(session, level, 0, &done);
    EXPECT(status == NQ_OK || status == NQ_DATA_LOSS || status == NQ_SYSTEM);
    int32_t now = -1;
    EXPECT(nq_session_get_level(session, &now) == NQ_OK && (status != NQ_OK || now == level));
    uint64_t size = 0, resident = 0;
    EXPECT(nq_session_memory(session, level, &size, &resident, nullptr) == NQ_OK);
    interpreter->invoke();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ModelFile model_file;
  if (size < 2) return 0;
  const int switches = data[1];
  uint64_t groups = 0;
  Seed& seed = seeds()[data[0] % seeds().size()];
  Bytes& file = seed.edit(data + 2, size - 2, (switches & kUnsealed) == 0, &groups);
  const nq_session session = nq_session_open();
  TfLiteDelegate* delegate = create_delegate(session, switches);
  {
    const nq_fuzz::LittleMemory little;
    Interpreter interpreter(model_file.write(file), &file, delegate);
    const bool own = (groups & ~nq_fuzz::kOwnGroups) == 0;
    if (interpreter && nq_session_prepare(session) == NQ_OK && (own || all_fused(session)) &&
        interpreter.allocate((switches & kResized) != 0)) {
      run(session, &interpreter);
    }
  }
  tflite_plugin_destroy_delegate(delegate);
  nq_session_close(session);
  return 0;
}
