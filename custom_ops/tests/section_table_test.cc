#include "format/section_table.h"

#include <cstring>

#include "check.h"
#include "naive_format.h"

namespace {

using nq::SectionTable;
using nq::Status;
using nq_test::Bytes;

Bytes example() {
  return nq_test::table_bytes(
      {{16384, 1000, 0x11111111, 4}, {32768, 64, 0x22222222, 6}, {49152, 20000, 0x33333333, 8}});
}

Status parse(const Bytes& bytes, SectionTable* table) {
  const Bytes exact(bytes);
  return nq::parse_section_table({exact.data(), exact.size()}, table);
}

Status parse_changed(size_t offset, uint64_t value, int size) {
  Bytes bytes = example();
  std::memcpy(bytes.data() + offset, &value, static_cast<size_t>(size));
  nq_test::seal_table(&bytes);
  SectionTable table;
  return parse(bytes, &table);
}

TEST(reads_every_field) {
  SectionTable table;
  CHECK_OK(parse(example(), &table));
  CHECK_EQ(3, table.num_sections);
  CHECK_EQ(49152u, table.sections[2].offset);
  CHECK_EQ(20000u, table.sections[2].size);
  CHECK_EQ(0x33333333u, table.sections[2].crc32);
  CHECK_EQ(4, table.sections[0].bits);
  CHECK_EQ(8, table.sections[2].bits);
}

TEST(truncated_at_every_length) {
  const Bytes whole = example();
  for (size_t size = 0; size < whole.size(); ++size) {
    SectionTable table;
    CHECK_EQ(NQ_INVALID_MODEL, parse(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)), &table).code());
  }
}

TEST(every_flipped_bit_is_noticed) {
  for (size_t byte = 0; byte < example().size(); ++byte) {
    for (int bit = 0; bit < 8; ++bit) {
      Bytes bytes = example();
      bytes[byte] ^= static_cast<uint8_t>(1u << bit);
      SectionTable table;
      // A minor version is checked by the checksum alone.
      CHECK_EQ(NQ_INVALID_MODEL, parse(bytes, &table).code());
    }
  }
}

TEST(versions) {
  CHECK_FAILS(NQ_INVALID_MODEL, "version 2", parse_changed(4, 2, 2));
  CHECK_OK(parse_changed(6, 3, 2));
  Bytes longer = example();
  longer[6] = 1;
  longer[8] = static_cast<uint8_t>(longer[8] + 12);
  longer.insert(longer.end(), 12, 0x5A);
  nq_test::seal_table(&longer);
  SectionTable table;
  CHECK_OK(parse(longer, &table));
  longer.insert(longer.end(), 9, 0x5A);  // a tensor longer than its table
  CHECK_OK(parse(longer, &table));
}

TEST(forbidden) {
  CHECK_FAILS(NQ_INVALID_MODEL, "NQST", parse_changed(0, 'n', 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "1 sections", parse_changed(12, 1, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "8 sections", parse_changed(12, 8, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "4294967295 sections", parse_changed(12, 0xFFFFFFFF, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 91 bytes", parse_changed(8, 91, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 93 bytes", parse_changed(8, 93, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 4294967295 bytes", parse_changed(8, 0xFFFFFFFF, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "multiple of 16384", parse_changed(16, 16384 + 64, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "has 0 bytes", parse_changed(24, 0, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "within a file", parse_changed(24, UINT64_MAX, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "within a file", parse_changed(64, UINT64_MAX - 16383, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "after section 0", parse_changed(24, 16385, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "after section 1", parse_changed(64, 16384, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "gives 1 bits", parse_changed(36, 1, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "gives 4 bits", parse_changed(60, 4, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "gives 9 bits", parse_changed(84, 9, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "gives 9 bits", parse_changed(84, 0x80000006, 4));
}

TEST(random_changes_give_a_valid_table_or_an_error) {
  std::mt19937 random(3);
  for (int round = 0; round < 100000; ++round) {
    Bytes bytes = example();
    for (unsigned change = random() % 4; change < 4; ++change) {
      bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1u << random() % 8);
    }
    nq_test::seal_table(&bytes);
    SectionTable table;
    if (!parse(bytes, &table).ok()) continue;
    for (int k = 1; k < table.num_sections; ++k) {
      CHECK(table.sections[k].offset - table.sections[k - 1].offset >= table.sections[k - 1].size);
      CHECK(table.sections[k].bits > table.sections[k - 1].bits);
    }
  }
}

}  // namespace
