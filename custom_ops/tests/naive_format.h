// FORMAT.md once more, written from the page without the library's parsers and kernels, a weight and a bit at a time.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "format/option_block.h"

namespace nq_test {

using Bytes = std::vector<uint8_t>;

// Every way to cut `full_bits` into levels.
std::vector<std::vector<int>> all_splits(int full_bits);

nq::OptionBlock make_block(nq::Layout layout, uint32_t channels, uint32_t depth, const std::vector<int>& bits);

// Codes by [channel * depth + i], valid for the block's bit-width, never the excluded lowest one.
std::vector<int8_t> random_codes(const nq::OptionBlock& block, std::mt19937* random);

// Section 4.2.
int8_t value_at_level(const nq::OptionBlock& block, int level, int8_t code, uint32_t i);

// Sections 4.3 and 4.4, without bias corrections: one weight's bits, replaced, and a whole level.
void pack_weight(const nq::OptionBlock& block, int level, uint32_t c, uint32_t i, int8_t code, Bytes* packed);
Bytes pack_level(const nq::OptionBlock& block, int level, const std::vector<int8_t>& codes);

// Index of channel c, depth index i in the reader's tensor.
size_t reader_index(const nq::OptionBlock& block, uint32_t c, uint32_t i);

void put(Bytes* bytes, uint64_t value, int size);
void put_float(Bytes* bytes, float value);
Bytes option_bytes(const nq::OptionBlock& block);

struct SectionEntry {
  uint64_t offset, size;
  uint32_t crc32, bits;
};
Bytes table_bytes(const std::vector<SectionEntry>& sections);

// Bit by bit, from the polynomial.
uint32_t naive_crc32(const uint8_t* bytes, size_t size);
// Makes the table's own checksum right again after a change.
void seal_table(Bytes* table);

}  // namespace nq_test
