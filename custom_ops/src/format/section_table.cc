#include "format/section_table.h"

#include "format/crc32.h"

namespace nq {
namespace {

using Printable = unsigned long long;

Status check_prefix(ByteSpan bytes) {
  if (bytes.size < kTableHeaderBytes + kTableChecksumBytes) {
    return invalid_model("the section table has %zu bytes; expected at least %u", bytes.size,
                         kTableHeaderBytes + kTableChecksumBytes);
  }
  if (std::memcmp(bytes.data, kTableMagic, sizeof(kTableMagic)) != 0) {
    return invalid_model("the section table starts with other bytes; expected \"NQST\"");
  }
  const auto major = load<uint16_t>(bytes.data + 4);
  if (major != kFormatMajor) {
    return error(NQ_INVALID_MODEL, "the section table has format version %u; expected %u; install a matching nq_tflite",
                 major, kFormatMajor);
  }
  return {};
}

Status check_extent(ByteSpan bytes) {
  const auto declared = load<uint32_t>(bytes.data + 8), num_sections = load<uint32_t>(bytes.data + 12);
  if (num_sections < kMinLevels || num_sections > kMaxLevels) {
    return invalid_model("the section table has %u sections; expected %d to %d", num_sections, kMinLevels, kMaxLevels);
  }
  const uint32_t needed = kTableHeaderBytes + kTableSectionBytes * num_sections + kTableChecksumBytes;
  if (declared < needed || declared > bytes.size) {
    return invalid_model("the section table claims %u bytes; expected %u to %zu", declared, needed, bytes.size);
  }
  const auto expected = load<uint32_t>(bytes.data + declared - kTableChecksumBytes);
  const uint32_t found = crc32(bytes.data, declared - kTableChecksumBytes);
  if (found != expected) {
    return error(NQ_INVALID_MODEL,
                 "the section table's checksum is %08x; expected %08x; the file is damaged, copy it again", found,
                 expected);
  }
  return {};
}

Status check_section(const SectionTable& table, int index) {
  const Section& section = table.sections[index];
  if (section.offset % kSectionAlignment != 0) {
    return invalid_model("section %d starts at byte %llu; expected a multiple of %llu", index,
                         Printable{section.offset}, Printable{kSectionAlignment});
  }
  if (section.size == 0 || section.size > UINT64_MAX - section.offset) {
    return invalid_model("section %d has %llu bytes from byte %llu on; expected some, within a file", index,
                         Printable{section.size}, Printable{section.offset});
  }
  const int min_bits = index == 0 ? kMinBaseBits : table.sections[index - 1].bits + 1;
  if (section.bits < min_bits || section.bits > kMaxFullBits) {
    return invalid_model("section %d gives %d bits; expected %d to %d", index, section.bits, min_bits, kMaxFullBits);
  }
  if (index == 0) return {};
  const uint64_t previous_end = table.sections[index - 1].offset + table.sections[index - 1].size;
  if (section.offset < previous_end) {
    return invalid_model("section %d starts at byte %llu; expected it after section %d, which ends at byte %llu", index,
                         Printable{section.offset}, index - 1, Printable{previous_end});
  }
  return {};
}

}  // namespace

Status parse_section_table(ByteSpan bytes, SectionTable* table) {
  if (Status status = check_prefix(bytes); !status.ok()) return status;
  if (Status status = check_extent(bytes); !status.ok()) return status;
  table->num_sections = static_cast<int>(load<uint32_t>(bytes.data + 12));
  for (int index = 0; index < table->num_sections; ++index) {
    const uint8_t* entry = bytes.data + kTableHeaderBytes + kTableSectionBytes * index;
    Section& section = table->sections[index];
    section.offset = load<uint64_t>(entry);
    section.size = load<uint64_t>(entry + 8);
    section.crc32 = load<uint32_t>(entry + 16);
    // Saturated first: a bit-width beyond any int must fail the range check, not wrap into it.
    const auto bits = load<uint32_t>(entry + 20);
    section.bits = bits > kMaxFullBits ? kMaxFullBits + 1 : static_cast<int>(bits);
    if (Status status = check_section(*table, index); !status.ok()) return status;
  }
  return {};
}

}  // namespace nq
