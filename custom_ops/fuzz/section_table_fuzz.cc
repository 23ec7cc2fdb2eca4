// The section table, from any bytes as they are and with a checksum that fits them.
#include <cstring>
#include <vector>

#include "expect.h"
#include "format/crc32.h"
#include "format/section_table.h"

namespace {

void parse(nq::ByteSpan bytes) {
  nq::SectionTable table;
  if (!nq::parse_section_table(bytes, &table).ok()) return;
  EXPECT(table.num_sections >= nq::kMinLevels && table.num_sections <= nq::kMaxLevels);
  uint64_t end = 0;
  int bits = 0;
  for (int i = 0; i < table.num_sections; ++i) {
    const nq::Section& section = table.sections[static_cast<size_t>(i)];
    EXPECT(section.offset >= end && section.offset % nq::kSectionAlignment == 0 && section.size > 0);
    EXPECT(section.bits > bits && section.bits <= nq::kMaxFullBits);
    end = section.offset + section.size;
    EXPECT(end > section.offset);
    bits = section.bits;
  }
}

// Nobody guesses a checksum, so no mutation would get beyond it.
std::vector<uint8_t> sealed(const uint8_t* data, size_t size) {
  std::vector<uint8_t> bytes(data, data + size);
  if (size < nq::kTableHeaderBytes) return bytes;
  const auto declared = nq::load<uint32_t>(data + 8);
  if (declared < nq::kTableChecksumBytes || declared > size) return bytes;
  const size_t body = declared - nq::kTableChecksumBytes;
  const uint32_t crc = nq::crc32(bytes.data(), body);
  std::memcpy(bytes.data() + body, &crc, sizeof(crc));
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  parse({data, size});
  const std::vector<uint8_t> bytes = sealed(data, size);
  parse({bytes.data(), bytes.size()});
  return 0;
}
