// The walk over a weight that every kernel shares, and what is computed once a weight.
#include "kernels/groups/groups.h"

#include <algorithm>

#include "kernels/unpack/weight.h"

namespace nq {

void unpack_base(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

namespace {

constexpr uint16_t kLeastNormal = 0x0400, kInfinity = 0x7C00;
constexpr uint64_t kBatch = 8;  // superblocks unpacked at a time, so that codes stay in the L1 cache
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

// One row's 16 channels from `first` on; a loop over arrays, which compilers make vectors of.
void finish(const float* sums, const GroupDequantization& to, size_t row, uint32_t first, float* out) {
  const float zero_point = static_cast<float>(to.zero_point[row]), row_scale = to.row_scale[row];
  const float *weight_sum = to.weight_sum + first, *scale = to.scale + first, *bias = to.bias + first;
  const float low = to.low, high = to.high;
  for (int c = 0; c < kMatrixChannels; ++c) {
    const float value = (sums[c] - zero_point * weight_sum[c]) * (row_scale * scale[c]) + bias[c];
    const float raised = value < low ? low : value;
    out[c] = raised > high ? high : raised;
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

std::vector<float> grouped_sums(const PackedWeight& weight, const uint8_t* group_scales) {
  const OptionBlock& block = weight.block;
  const uint32_t a_block = depth_blocks(block), a_group = block.group_size / kMatrixDepth;
  std::vector<float> sums(align(block.channels, kMatrixChannels));
  int32_t of_group[kMatrixChannels] = {};
  visit_superblocks(unpack_base, weight, 0, num_superblocks(block), [&](const int8_t* codes, uint64_t superblock) {
    for (int line = 0; line < kBlocksPerSuperblock; ++line, codes += kLineBytes) {
      for (int i = 0; i < kLineBytes; ++i) of_group[i / kDepthPerBlock] += codes[i];
    }
    if ((superblock + 1) % a_group != 0) return;
    const uint8_t* scales = group_scales + superblock / a_group * kScaleLine;
    float* to = sums.data() + superblock / a_block * kMatrixChannels;
    for (int c = 0; c < kMatrixChannels; ++c) {
      to[c] += static_cast<float>(of_group[c]) * group_scale(scales + c * sizeof(uint16_t));
      of_group[c] = 0;
    }
  });
  return sums;
}

size_t group_scratch_bytes(uint32_t depth) { return size_t{depth} * kMatrixChannels; }

// Even and odd bytes are the halves of 16-bit lanes, which hold the sums of the longest group.
void sum_groups(const int8_t* row, uint32_t depth, uint32_t group_size, int32_t* sums) {
  using Lanes = int16_t __attribute__((vector_size(16)));
  for (uint32_t begin = 0; begin < depth; begin += group_size, sums += 2) {
    Lanes even = {}, odd = {};
    for (uint32_t i = begin; i < begin + group_size; i += sizeof(Lanes)) {
      Lanes both;
      std::memcpy(&both, row + i, sizeof(both));
      even += (both << 8) >> 8;
      odd += both >> 8;
    }
    sums[0] = sums[1] = 0;
    for (int lane = 0; lane < 8; ++lane) {
      sums[0] += even[lane];
      sums[1] += odd[lane];
    }
  }
}

void run_groups(const GroupKernel& kernel, const GroupTask& task, const GroupDequantization& dequantization,
                float* out) {
  constexpr int kMostRows = 16;  // of any kernel
  const OptionBlock& block = task.weight.block;
  const uint32_t total = depth_blocks(block), groups = num_groups(block);
  const CellMiddle middle = cell_middle(block, task.weight.level, 0);
  const auto even = static_cast<uint8_t>(middle.block[0]), odd = static_cast<uint8_t>(middle.block[0] >> 8);
  for (uint32_t b = task.first_block; b < task.first_block + task.num_blocks; ++b) {
    const PackedLevels levels = packed_levels(task.weight, uint64_t{b} * total);
    // More rows than a tile would unpack the nibbles again and again.
    const bool packed = kernel.takes_nibbles && are_nibbles(levels) && task.rows.num_rows <= kernel.rows;
    auto* codes = reinterpret_cast<int8_t*>(task.scratch);
    if (!packed) kernel.unpack(levels, middle, total, codes);
    const uint8_t* scales = task.scales + uint64_t{b} * groups * kScaleLine;
    GroupTile tile = {levels, even, odd, packed ? nullptr : codes, scales, block.group_size, task.rows};
    const uint32_t first = b * kMatrixChannels, end = std::min<uint32_t>(first + kMatrixChannels, block.channels);
    for (int row = 0; row < task.rows.num_rows; row += kernel.rows) {
      alignas(kLineBytes) float sums[kMostRows * kMatrixChannels];
      const auto at = static_cast<size_t>(row);
      tile.rows.codes = task.rows.codes + at * task.rows.depth;
      tile.rows.sums = task.rows.sums + at * groups * 2;
      tile.rows.num_rows = std::min(kernel.rows, task.rows.num_rows - row);
      kernel.multiply(tile, sums);
      for (size_t r = 0; r < static_cast<size_t>(tile.rows.num_rows); ++r) {
        float* to = out + (at + r) * block.channels + first;
        float values[kMatrixChannels];
        finish(sums + r * kMatrixChannels, dequantization, at + r, first, values);
        std::copy(values, values + (end - first), to);
      }
    }
  }
}

}  // namespace nq
