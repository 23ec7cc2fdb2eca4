// The flatbuffer reader, from any bytes: visits everything that hidden_levels.cc may, and the schema's limits.
#include <algorithm>

#include "expect.h"
#include "format/flatbuffer.h"

namespace {

constexpr uint32_t kMaxVisited = 32;  // of a vector: more of the same costs only time

// Sums what it reads, so that no read is optimized away.
uint64_t visit(nq::ByteSpan file, const nq::FlatbufferTable& table, int depth) {
  uint64_t sum = 0;
  for (const int field : {0, 1, 2, 3, 4, 7, 32765}) {
    sum += table.u32(field) + table.u64(field);
    if (const uint8_t* data = table.vector_data(field)) {
      EXPECT(data >= file.data + 4 && data <= file.data + file.size);
    }
    const auto tables = table.vector(field);
    for (uint32_t i = 0; depth > 0 && tables && i < std::min(tables->size(), kMaxVisited); ++i) {
      if (const auto next = tables->table(i)) sum += visit(file, *next, depth - 1);
    }
    if (tables) EXPECT(!tables->table(tables->size()) && !tables->table(UINT64_MAX));
  }
  return sum;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const nq::ByteSpan file = {data, size};
  static volatile uint64_t sum;
  if (const auto root = nq::flatbuffer_root(file)) sum = sum + visit(file, *root, 2);
  return 0;
}
