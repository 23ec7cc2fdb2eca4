#include "format/option_block.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace nq {
namespace {

constexpr uint64_t kMaxWeights = uint64_t{1} << 31;

Status check_prefix(ByteSpan bytes) {
  if (bytes.size < kOptionHeaderBytes) {
    return invalid_model("the operator has %zu bytes of options; expected at least %u", bytes.size, kOptionHeaderBytes);
  }
  if (std::memcmp(bytes.data, kOptionMagic, sizeof(kOptionMagic)) != 0) {
    return invalid_model("the operator's options start with other bytes; expected \"NQOP\"");
  }
  const auto major = load<uint16_t>(bytes.data + 4);
  if (major != kFormatMajor) {
    return error(NQ_INVALID_MODEL, "the option block has format version %u; expected %u; install a matching nq_tflite",
                 major, kFormatMajor);
  }
  const auto unknown = load<uint32_t>(bytes.data + 12) & kCriticalFlags & ~(kFlagBias | kFlagGroups);
  if (unknown != 0) {
    return error(NQ_INVALID_MODEL,
                 "the option block sets flags 0x%x; expected none but BIAS and GROUPS; install a newer nq_tflite",
                 unknown);
  }
  return {};
}

bool known_layout(uint8_t layout) {
  return layout == static_cast<uint8_t>(Layout::kMatrix) || layout == static_cast<uint8_t>(Layout::kDepthwise);
}

bool known_output_type(uint8_t type) {
  return type == static_cast<uint8_t>(OutputType::kFloat32) || type == static_cast<uint8_t>(OutputType::kInt8);
}

Status read_group_size(ByteSpan bytes, OptionBlock* block) {
  if (block->layout != Layout::kMatrix || block->output_type != OutputType::kFloat32) {
    return invalid_model("group scales with layout %d and output type %d; expected 1 (matrix) and 0 (FLOAT32)",
                         static_cast<int>(block->layout), static_cast<int>(block->output_type));
  }
  const auto size = load<uint32_t>(bytes.data + 28);
  if (std::find(std::begin(kGroupSizes), std::end(kGroupSizes), size) == std::end(kGroupSizes) ||
      block->depth % size != 0) {
    return invalid_model("the group size is %u; expected 32, 64 or 128, a divisor of the depth %u", size, block->depth);
  }
  block->group_size = size;
  return {};
}

Status read_header(ByteSpan bytes, OptionBlock* block) {
  const uint8_t layout = bytes.data[16], output_type = bytes.data[17];
  if (!known_layout(layout)) return invalid_model("layout is %u; expected 1 (matrix) or 2 (depthwise)", layout);
  if (!known_output_type(output_type)) {
    return invalid_model("output type is %u; expected 0 (FLOAT32) or 9 (INT8)", output_type);
  }
  block->has_bias = (load<uint32_t>(bytes.data + 12) & kFlagBias) != 0;
  block->is_start = (load<uint32_t>(bytes.data + 12) & kFlagStart) != 0;
  block->layout = static_cast<Layout>(layout);
  block->output_type = static_cast<OutputType>(output_type);
  block->full_bits = bytes.data[18];
  block->num_levels = bytes.data[19];
  block->channels = load<uint32_t>(bytes.data + 20);
  block->depth = load<uint32_t>(bytes.data + 24);
  block->group_size = 0;
  if (block->full_bits < kMinFullBits || block->full_bits > kMaxFullBits) {
    return invalid_model("full bit-width is %d; expected %d to %d", block->full_bits, kMinFullBits, kMaxFullBits);
  }
  if (block->num_levels < kMinLevels || block->num_levels > kMaxLevels) {
    return invalid_model("number of levels is %d; expected %d to %d", block->num_levels, kMinLevels, kMaxLevels);
  }
  if (block->channels == 0 || block->depth == 0 || uint64_t{block->channels} * block->depth >= kMaxWeights) {
    return invalid_model("%u channels of %u weights; expected at least 1 and fewer than 2^31 weights in all",
                         block->channels, block->depth);
  }
  return (load<uint32_t>(bytes.data + 12) & kFlagGroups) != 0 ? read_group_size(bytes, block) : Status();
}

Status read_level(ByteSpan bytes, int index, OptionBlock* block) {
  const uint8_t* entry = bytes.data + kOptionHeaderBytes + kOptionLevelBytes * index;
  LevelEntry& level = block->levels[index];
  level.offset = load<uint64_t>(entry);
  level.bits = entry[8];
  level.bias_step = load<float>(entry + 12);
  const int min_bits = index == 0 ? kMinBaseBits : 1;
  if (level.bits < min_bits || level.bits >= block->full_bits) {
    return invalid_model("level %d has %d bits; expected %d to %d", index, level.bits, min_bits, block->full_bits - 1);
  }
  if (level.offset % kBufferAlignment != 0) {
    return invalid_model("level %d starts at byte %llu of its section; expected a multiple of %llu", index,
                         static_cast<unsigned long long>(level.offset),
                         static_cast<unsigned long long>(kBufferAlignment));
  }
  if (!std::isfinite(level.bias_step) || level.bias_step < 0 || (!block->has_bias && level.bias_step != 0)) {
    return invalid_model("the bias step of level %d is %g; expected %s", index, level.bias_step,
                         block->has_bias ? "a finite number, not negative" : "0 without the BIAS flag");
  }
  return {};
}

}  // namespace

Status parse_option_block(ByteSpan bytes, OptionBlock* block) {
  if (Status status = check_prefix(bytes); !status.ok()) return status;
  if (Status status = read_header(bytes, block); !status.ok()) return status;
  const auto declared = load<uint32_t>(bytes.data + 8);
  const uint32_t needed = kOptionHeaderBytes + kOptionLevelBytes * block->num_levels;
  if (declared < needed || declared > bytes.size) {
    return invalid_model("the option block claims %u bytes; expected %u to %zu", declared, needed, bytes.size);
  }
  for (int level = 0; level < block->num_levels; ++level) {
    if (Status status = read_level(bytes, level, block); !status.ok()) return status;
  }
  if (const int sum = used_bits(*block, block->num_levels - 1); sum != block->full_bits) {
    return invalid_model("the levels have %d bits in all; expected %d", sum, block->full_bits);
  }
  return {};
}

int used_bits(const OptionBlock& block, int level) {
  int bits = 0;
  for (int k = 0; k <= level; ++k) bits += block.levels[k].bits;
  return bits;
}

uint64_t num_superblocks(const OptionBlock& block) {
  if (block.layout == Layout::kMatrix) {
    return align(block.channels, kMatrixChannels) / kMatrixChannels * (align(block.depth, kMatrixDepth) / kMatrixDepth);
  }
  const uint64_t blocks = align(block.channels, kDepthwiseChannels) / kDepthwiseChannels * block.depth;
  return align(blocks, kBlocksPerSuperblock) / kBlocksPerSuperblock;
}

uint64_t packed_bytes(const OptionBlock& block, int level) {
  return uint64_t{kLineBytes} * block.levels[level].bits * num_superblocks(block);
}

uint64_t level_bytes(const OptionBlock& block, int level) {
  return packed_bytes(block, level) + (block.levels[level].bias_step != 0 ? align(block.channels, kLineBytes) : 0);
}

uint32_t num_groups(const OptionBlock& block) { return block.depth / block.group_size; }

uint64_t num_group_scales(const OptionBlock& block) {
  return align(block.channels, kMatrixChannels) * num_groups(block);
}

}  // namespace nq
