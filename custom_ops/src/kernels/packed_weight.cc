#include "kernels/packed_weight.h"

#include <algorithm>

#include "kernels/weight.h"

namespace nq {

void unpack_base(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

namespace {

void add_matrix_superblock(const OptionBlock& block, uint64_t superblock, const int8_t* codes, int32_t* sums) {
  const uint64_t depth_blocks = align(block.depth, kMatrixDepth) / kMatrixDepth;
  const auto first_channel = static_cast<uint32_t>(superblock / depth_blocks * kMatrixChannels);
  const auto first_depth = static_cast<uint32_t>(superblock % depth_blocks * kMatrixDepth);
  const uint32_t num_channels = std::min<uint32_t>(kMatrixChannels, block.channels - first_channel);
  const uint32_t depth = std::min<uint32_t>(kMatrixDepth, block.depth - first_depth);
  for (uint32_t c = 0; c < num_channels; ++c) {
    for (uint32_t i = 0; i < depth; ++i) {
      sums[first_channel + c] += codes[i / kDepthPerBlock * kLineBytes + c * kDepthPerBlock + i % kDepthPerBlock];
    }
  }
}

void add_depthwise_superblock(const OptionBlock& block, uint64_t superblock, const int8_t* codes, int32_t* sums) {
  for (int i = 0; i < kBlocksPerSuperblock; ++i, codes += kLineBytes) {
    const uint64_t first_channel = (superblock * kBlocksPerSuperblock + i) / block.depth * kDepthwiseChannels;
    if (first_channel >= block.channels) return;  // padding
    const uint64_t count = std::min<uint64_t>(kDepthwiseChannels, block.channels - first_channel);
    for (uint64_t c = 0; c < count; ++c) sums[first_channel + c] += codes[c];
  }
}

}  // namespace

PackedLevels packed_levels(const PackedWeight& weight, uint64_t superblock) {
  PackedLevels packed;
  packed.num_levels = weight.level + 1;
  for (int k = 0; k <= weight.level; ++k) {
    packed.bits[k] = weight.block.levels[k].bits;
    packed.data[k] = weight.levels[k] + superblock * packed.bits[k] * kLineBytes;
  }
  return packed;
}

void channel_sums(const PackedWeight& weight, int32_t* sums) {
  const OptionBlock& block = weight.block;
  const auto add = block.layout == Layout::kMatrix ? add_matrix_superblock : add_depthwise_superblock;
  std::fill(sums, sums + align(block.channels, 64), 0);
  alignas(kLineBytes) int8_t codes[kSuperblockWeights];
  for (uint64_t superblock = 0; superblock < num_superblocks(block); ++superblock) {
    unpack_base(packed_levels(weight, superblock), cell_middle(block, weight.level, superblock), 1, codes);
    add(block, superblock, codes, sums);
  }
}

}  // namespace nq
