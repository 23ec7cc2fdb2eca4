// The option block of an NQ_UNPACK_DEQUANT operator (FORMAT.md, section 3).
#pragma once

#include <array>
#include <cstdint>

#include "format/bytes.h"
#include "nq/format.h"
#include "status.h"

namespace nq {

struct LevelEntry {
  uint64_t offset = 0;  // from the start of the level's section
  int bits = 0;
  float bias_step = 0;  // 0: the level has no deltas
};

struct OptionBlock {
  bool has_bias = false;
  bool is_start = false;  // a mark where an invocation starts; nobody reads the weight
  Layout layout = Layout::kMatrix;
  OutputType output_type = OutputType::kInt8;
  int full_bits = 0;
  int num_levels = 0;
  uint32_t channels = 0;
  uint32_t depth = 0;
  uint32_t group_size = 0;  // depth indices that share a scale; 0: a channel has one
  std::array<LevelEntry, kMaxLevels> levels;
};

// Reads untrusted bytes; on failure `*block` is unspecified.
Status parse_option_block(ByteSpan bytes, OptionBlock* block);

// Bits of a code that levels 0 to `level` give.
int used_bits(const OptionBlock& block, int level);

uint64_t num_superblocks(const OptionBlock& block);

// Bytes of a level before its bias deltas, and with those that it has.
uint64_t packed_bytes(const OptionBlock& block, int level);
uint64_t level_bytes(const OptionBlock& block, int level);

// Of a weight with groups: scales of a channel, and all that are stored, those of padding channels among them.
uint32_t num_groups(const OptionBlock& block);
uint64_t num_group_scales(const OptionBlock& block);

}  // namespace nq
