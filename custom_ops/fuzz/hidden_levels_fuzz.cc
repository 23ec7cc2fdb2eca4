// Levels that a runtime hides, looked for in the mapping of a file of any bytes.
//
// The first 16 bytes of an input are u32 places in the file of the two levels' names, and u32 their sizes; the rest is
// the file. It is mapped whole pages long, as files are: a read behind its last page ends the process.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

#include "expect.h"
#include "fake_runtime.h"
#include "format/bytes.h"
#include "nodes/hidden_levels.h"

namespace {

constexpr size_t kHeadBytes = 16, kMappedBytes = 1 << 16;

// Another file's bytes at every input, under one mapping.
class File {
 public:
  File() {
    char path[] = "/tmp/nq_fuzz_XXXXXX";
    descriptor_ = mkstemp(path);
    EXPECT(descriptor_ >= 0);
    path_ = path;
    void* data = mmap(nullptr, kMappedBytes, PROT_READ, MAP_SHARED, descriptor_, 0);
    EXPECT(data != MAP_FAILED);
    data_ = static_cast<const uint8_t*>(data);
  }
  ~File() { unlink(path_.c_str()); }

  const uint8_t* data() const { return data_; }
  void write(const uint8_t* bytes, size_t size) const {
    EXPECT(ftruncate(descriptor_, 0) == 0);
    EXPECT(pwrite(descriptor_, bytes, size, 0) == static_cast<ssize_t>(size));
  }

 private:
  int descriptor_;
  std::string path_;
  const uint8_t* data_;
};

nq_test::Bytes option_block() {
  return nq_test::option_bytes(nq_test::make_block(nq::Layout::kMatrix, 16, 32, {5, 3}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const File file;
  static const nq_test::Bytes options = option_block();
  if (size <= kHeadBytes || size - kHeadBytes > kMappedBytes) return 0;
  const size_t file_bytes = size - kHeadBytes;
  file.write(data + kHeadBytes, file_bytes);
  nq_test::FakeRuntime runtime;
  const int image = runtime.add_output("image", kTfLiteUInt8, {4});
  for (int k = 0; k < 2; ++k) {
    const int level = runtime.add_output("", kTfLiteUInt8, {64});
    runtime.tensor(level).name =
        reinterpret_cast<const char*>(file.data()) + nq::load<uint32_t>(data + 4 * k) % file_bytes;
    runtime.tensor(level).bytes = nq::load<uint32_t>(data + 8 + 4 * k);
  }
  runtime.add_node("NQ_UNPACK_DEQUANT", {1, 2, image, image}, {image}, options);
  if (!nq::show_hidden_levels(runtime.context()).ok()) return 0;
  for (int k = 1; k <= 2; ++k) {
    const TfLiteTensor& level = runtime.tensor(k);
    const auto* bytes = static_cast<const uint8_t*>(level.data);
    if (bytes == nullptr) continue;
    EXPECT(level.allocation_type == kTfLiteMmapRo && bytes >= file.data());
    EXPECT(level.bytes <= file_bytes && bytes + level.bytes <= file.data() + file_bytes);
  }
  return 0;
}
