// The list of mappings, /proc/self/maps, from any text; a file may have any name. The first 16 bytes are the range
// that is looked for.
#include "expect.h"
#include "format/bytes.h"
#include "paging/file_mapping.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 16) return 0;
  const auto start = static_cast<uintptr_t>(nq::load<uint64_t>(data));
  const auto bytes = static_cast<size_t>(nq::load<uint64_t>(data + 8));
  const std::string maps(reinterpret_cast<const char*>(data + 16), size - 16);
  const auto mapping = nq::find_file_mapping(maps, start, bytes);
  if (mapping) EXPECT(mapping->start <= start && mapping->end >= start && bytes <= mapping->end - start);
  return 0;
}
