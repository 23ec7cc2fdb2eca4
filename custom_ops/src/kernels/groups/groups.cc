// The walk over a weight that every kernel shares, and what is computed once a weight.
#include "kernels/groups/groups.h"

#include <algorithm>

#include "kernels/unpack/weight.h"

namespace nq {

namespace {

constexpr uint16_t kLeastNormal = 0x0400, kInfinity = 0x7C00;
constexpr uint64_t kBatch = 8;              // superblocks unpacked at a time, so that codes stay in the L1 cache
constexpr size_t kTogetherBytes = 1 << 17;  // of codes: they stay in the L2 cache while rows go by
constexpr uint32_t kScaleLine = kMatrixChannels * sizeof(uint16_t);

uint32_t depth_blocks(const OptionBlock& block) { return block.depth / kMatrixDepth; }

int code_at(const int8_t* superblock, uint32_t channel, uint32_t depth) {
  return superblock[depth / kDepthPerBlock * kLineBytes + channel * kDepthPerBlock + depth % kDepthPerBlock];
}

// Calls visit(codes, index) for superblocks first to first + count.
template <typename Visit>
void visit_superblocks(UnpackFn unpack, const PackedWeight& weight, uint64_t first, uint64_t count,
                       const Visit& visit) {
  alignas(kLineBytes) int8_t codes[kBatch * kSuperblockWeights];
  const CellMiddle middle = cell_middle(weight.block, weight.level, 0);
  for (uint64_t done = 0; done < count; done += kBatch) {
    const uint64_t now = std::min(kBatch, count - done);
    unpack(packed_levels(weight, first + done), middle, now, codes);
    for (uint64_t i = 0; i < now; ++i) visit(codes + i * kSuperblockWeights, first + done + i);
  }
}

bool are_nibbles(const PackedLevels& levels) {
  return levels.num_levels <= 2 &&
         std::all_of(levels.bits, levels.bits + levels.num_levels, [](int bits) { return bits == 4; });
}

}  // namespace

Status check_group_scales(ByteSpan bytes, const OptionBlock& block) {
  const uint64_t count = num_group_scales(block), a_block = uint64_t{num_groups(block)} * kMatrixChannels;
  for (uint64_t i = 0; i < count; ++i) {
    const auto scale = load<uint16_t>(bytes.data + i * sizeof(uint16_t));
    if (scale == 0) continue;
    if (scale < kLeastNormal || scale >= kInfinity) {
      return invalid_model("group scale %llu has the bits 0x%04x; expected 0 or a positive, normal number",
                           static_cast<unsigned long long>(i), scale);
    }
    if (i / a_block * kMatrixChannels + i % kMatrixChannels >= block.channels) {
      return invalid_model("group scale %llu belongs to no channel; expected 0", static_cast<unsigned long long>(i));
    }
  }
  return {};
}

void write_grouped_rows(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                        const GroupScales& scales, ChannelRange channels, float* out) {
  PackedWeight weight = {block, {}, level};
  std::copy(levels, levels + level + 1, weight.levels);
  const uint32_t a_block = depth_blocks(block), groups = num_groups(block), a_group = block.group_size / kMatrixDepth;
  for (uint32_t first = channels.begin / kMatrixChannels * kMatrixChannels; first < channels.end;
       first += kMatrixChannels) {
    const uint32_t channel_block = first / kMatrixChannels;
    const uint32_t begin = std::max(first, channels.begin), end = std::min(first + kMatrixChannels, channels.end);
    visit_superblocks(kernel.unpack, weight, uint64_t{channel_block} * a_block, a_block,
                      [&](const int8_t* codes, uint64_t superblock) {
                        const auto column = static_cast<uint32_t>(superblock % a_block);
                        const uint8_t* line =
                            scales.groups + (uint64_t{channel_block} * groups + column / a_group) * kScaleLine;
                        for (uint32_t c = begin; c < end; ++c) {
                          const float scale = scales.channel[c] * group_scale(line + (c - first) * sizeof(uint16_t));
                          float* to = out + uint64_t{c - channels.begin} * block.depth + column * kMatrixDepth;
                          for (uint32_t i = 0; i < kMatrixDepth; ++i) {
                            to[i] = scale * static_cast<float>(code_at(codes, c - first, i));
                          }
                        }
                      });
  }
}

// Channel blocks whose codes are in memory at a time: outputs of a row that follow each other are written one after the
// other, for rows may lie many pages apart.
uint32_t blocks_together(uint32_t depth) {
  const size_t a_block = size_t{depth} * kMatrixChannels;
  return static_cast<uint32_t>(std::max<size_t>(kTogetherBytes / a_block, 1));
}

size_t group_scratch_bytes(uint32_t depth) { return size_t{blocks_together(depth)} * depth * kMatrixChannels; }

// Even and odd bytes are the halves of 16-bit lanes, which hold the sums of the longest group.
void sum_group(const int8_t* codes, size_t group_size, int32_t zero_point, int32_t* sums) {
  using Lanes = int16_t __attribute__((vector_size(16)));
  Lanes even = {}, odd = {};
  for (size_t i = 0; i < group_size; i += sizeof(Lanes)) {
    Lanes both;
    std::memcpy(&both, codes + i, sizeof(both));
    even += (both << 8) >> 8;
    odd += both >> 8;
  }
  sums[kEven] = sums[kOdd] = static_cast<int32_t>(group_size) / 2 * -zero_point;
  for (int lane = 0; lane < 8; ++lane) {
    sums[kEven] += even[lane];
    sums[kOdd] += odd[lane];
  }
  sums[kShift] = -128 * (sums[kEven] + sums[kOdd]);
  sums[kMinusZero] = -zero_point;
}

void run_groups(const GroupKernel& kernel, const GroupTask& task, const GroupDequantization& to, float* out) {
  const OptionBlock& block = task.weight.block;
  const uint32_t total = depth_blocks(block), groups = num_groups(block), depth = block.depth;
  const CellMiddle middle = cell_middle(block, task.weight.level, 0);
  const auto even = static_cast<uint8_t>(middle.block[0]), odd = static_cast<uint8_t>(middle.block[0] >> 8);
  // More rows would unpack the nibbles again and again.
  const bool packed = task.rows.num_rows <= kernel.packed_rows && are_nibbles(packed_levels(task.weight, 0));
  const uint32_t end = task.first_block + task.num_blocks, together = blocks_together(depth);
  auto* codes = reinterpret_cast<int8_t*>(task.scratch);
  for (uint32_t first = task.first_block; first < end; first += together) {
    const uint32_t count = std::min(together, end - first);
    if (!packed)
      kernel.unpack(packed_levels(task.weight, uint64_t{first} * total), middle, uint64_t{count} * total, codes);
    for (int row = 0; row < task.rows.num_rows; row += kernel.rows) {
      const auto at = static_cast<size_t>(row);
      const GroupRows rows = {task.rows.codes + at * depth, task.rows.scales + at * groups,
                              task.rows.sums + at * groups * kGroupSums, depth,
                              std::min(kernel.rows, task.rows.num_rows - row)};
      for (uint32_t b = first; b < first + count; ++b) {
        const size_t channel = size_t{b} * kMatrixChannels;
        const int8_t* of_block = packed ? nullptr : codes + size_t{b - first} * depth * kMatrixChannels;
        kernel.multiply(
            {packed_levels(task.weight, uint64_t{b} * total), even, odd, of_block,
             task.scales + uint64_t{b} * groups * kScaleLine, block.group_size, rows},
            {to.scale + channel, to.bias + channel, to.low, to.high, out + at * block.channels + channel,
             block.channels, std::min<uint32_t>(kMatrixChannels, block.channels - static_cast<uint32_t>(channel))});
      }
    }
  }
}

}  // namespace nq
