#include "naive_format.h"

#include <cstring>

namespace nq_test {
namespace {

uint64_t round_up(uint64_t value, uint64_t to) { return (value + to - 1) / to * to; }

struct Position {
  uint64_t superblock;
  int block, j;
};

Position position_of(const nq::OptionBlock& block, uint32_t c, uint32_t i) {
  if (block.layout == nq::Layout::kMatrix) {
    const uint64_t superblock = c / 16 * (round_up(block.depth, 32) / 32) + i / 32;
    return {superblock, static_cast<int>(i % 32 / 4), static_cast<int>(c % 16 * 4 + i % 4)};
  }
  const uint64_t index = uint64_t{c / 64} * block.depth + i;
  return {index / 8, static_cast<int>(index % 8), static_cast<int>(c % 64)};
}

int upper_bits(const nq::OptionBlock& block, int level) {
  int sum = 0;
  for (int k = 0; k <= level; ++k) sum += block.levels[k].bits;
  return sum;
}

uint64_t superblocks(const nq::OptionBlock& block) {
  if (block.layout == nq::Layout::kMatrix) return round_up(block.channels, 16) / 16 * (round_up(block.depth, 32) / 32);
  return round_up(round_up(block.channels, 64) / 64 * block.depth, 8) / 8;
}

void append_splits(int bits, std::vector<int>* prefix, std::vector<std::vector<int>>* splits) {
  if (bits == 0 && prefix->size() >= 2) splits->push_back(*prefix);
  for (int first = prefix->empty() ? 2 : 1; first <= bits; ++first) {
    prefix->push_back(first);
    append_splits(bits - first, prefix, splits);
    prefix->pop_back();
  }
}

}  // namespace

std::vector<std::vector<int>> all_splits(int full_bits) {
  std::vector<int> prefix;
  std::vector<std::vector<int>> splits;
  append_splits(full_bits, &prefix, &splits);
  return splits;
}

nq::OptionBlock make_block(nq::Layout layout, uint32_t channels, uint32_t depth, const std::vector<int>& bits) {
  nq::OptionBlock block;
  block.layout = layout;
  block.channels = channels;
  block.depth = depth;
  block.num_levels = static_cast<int>(bits.size());
  for (size_t k = 0; k < bits.size(); ++k) {
    block.levels[k].bits = bits[k];
    block.full_bits += bits[k];
  }
  return block;
}

std::vector<int8_t> random_codes(const nq::OptionBlock& block, std::mt19937* random) {
  const int largest = (1 << (block.full_bits - 1)) - 1;
  std::vector<int8_t> codes;
  for (uint64_t n = uint64_t{block.channels} * block.depth; n > 0; --n) {
    const int q = static_cast<int>((*random)() % (2u * static_cast<unsigned>(largest) + 1)) - largest;
    codes.push_back(static_cast<int8_t>(q * (1 << (8 - block.full_bits))));
  }
  return codes;
}

int8_t value_at_level(const nq::OptionBlock& block, int level, int8_t code, uint32_t i) {
  const int h = upper_bits(block, level), n = block.full_bits, l = n - h;
  if (l == 0) return code;
  const int upper = code & ~((1 << (8 - h)) - 1);
  const int middle = ((1 << (l - 1)) - static_cast<int>(i & 1)) * (1 << (8 - n));
  return static_cast<int8_t>(upper | middle);
}

void pack_weight(const nq::OptionBlock& block, int level, uint32_t c, uint32_t i, int8_t value, Bytes* packed) {
  const int bits = block.levels[level].bits;
  const Position at = position_of(block, c, i);
  const unsigned code = static_cast<uint8_t>(value);
  int line = 0, top = 8 - upper_bits(block, level) + bits;
  for (const int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    top -= width;
    const int shift = at.block * width % 8;
    const unsigned mask = (1u << width) - 1;
    uint8_t& byte = (*packed)[(at.superblock * bits + line + at.block * width / 8) * 64 + at.j];
    byte = static_cast<uint8_t>((byte & ~(mask << shift)) | (code >> top & mask) << shift);
    line += width;
  }
}

Bytes pack_level(const nq::OptionBlock& block, int level, const std::vector<int8_t>& codes) {
  Bytes packed(64 * static_cast<size_t>(block.levels[level].bits) * superblocks(block));
  for (uint32_t c = 0; c < block.channels; ++c) {
    for (uint32_t i = 0; i < block.depth; ++i) {
      pack_weight(block, level, c, i, codes[size_t{c} * block.depth + i], &packed);
    }
  }
  return packed;
}

size_t reader_index(const nq::OptionBlock& block, uint32_t c, uint32_t i) {
  return block.layout == nq::Layout::kMatrix ? size_t{c} * block.depth + i : size_t{i} * block.channels + c;
}

void put(Bytes* bytes, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) bytes->push_back(static_cast<uint8_t>(value >> (8 * i)));
}

void put_float(Bytes* bytes, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  put(bytes, bits, 4);
}

Bytes option_bytes(const nq::OptionBlock& block) {
  Bytes bytes = {'N', 'Q', 'O', 'P'};
  put(&bytes, 1, 2);
  put(&bytes, block.group_size != 0 ? 1 : 0, 2);
  put(&bytes, 32 + 16 * static_cast<uint64_t>(block.num_levels), 4);
  put(&bytes, (block.has_bias ? 1u : 0u) | (block.group_size != 0 ? 2u : 0u), 4);
  put(&bytes, static_cast<uint8_t>(block.layout), 1);
  put(&bytes, static_cast<uint8_t>(block.output_type), 1);
  put(&bytes, static_cast<uint64_t>(block.full_bits), 1);
  put(&bytes, static_cast<uint64_t>(block.num_levels), 1);
  put(&bytes, block.channels, 4);
  put(&bytes, block.depth, 4);
  put(&bytes, block.group_size, 4);
  for (int k = 0; k < block.num_levels; ++k) {
    put(&bytes, block.levels[k].offset, 8);
    put(&bytes, static_cast<uint64_t>(block.levels[k].bits), 4);
    put_float(&bytes, block.levels[k].bias_step);
  }
  return bytes;
}

Bytes table_bytes(const std::vector<SectionEntry>& sections) {
  Bytes bytes = {'N', 'Q', 'S', 'T'};
  put(&bytes, 1, 2);
  put(&bytes, 0, 2);
  put(&bytes, 16 + 24 * sections.size() + 4, 4);
  put(&bytes, sections.size(), 4);
  for (const SectionEntry& section : sections) {
    put(&bytes, section.offset, 8);
    put(&bytes, section.size, 8);
    put(&bytes, section.crc32, 4);
    put(&bytes, section.bits, 4);
  }
  put(&bytes, naive_crc32(bytes.data(), bytes.size()), 4);
  return bytes;
}

uint32_t naive_crc32(const uint8_t* bytes, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  for (size_t i = 0; i < size; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      const uint32_t out = (crc ^ static_cast<uint32_t>(bytes[i] >> bit)) & 1;
      crc = crc >> 1 ^ (out != 0 ? 0xEDB88320u : 0);
    }
  }
  return ~crc;
}

void seal_table(Bytes* table) {
  const size_t end = table->size() - 4;
  const uint32_t crc = naive_crc32(table->data(), end);
  std::memcpy(table->data() + end, &crc, sizeof(crc));
}

}  // namespace nq_test
