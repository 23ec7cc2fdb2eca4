// The section table (FORMAT.md, section 5): where each level's bytes stand in the file.
#pragma once

#include <array>
#include <cstdint>

#include "format/bytes.h"
#include "nq/format.h"
#include "status.h"

namespace nq {

struct Section {
  uint64_t offset = 0;  // in the file
  uint64_t size = 0;
  uint32_t crc32 = 0;
  int bits = 0;  // the precision that levels up to this one give
};

struct SectionTable {
  int num_sections = 0;
  std::array<Section, kMaxLevels> sections;
};

// Reads untrusted bytes; on failure `*table` is unspecified.
Status parse_section_table(ByteSpan bytes, SectionTable* table);

}  // namespace nq
