#include "kernels/depthwise_taps.h"

#include <algorithm>

#include "kernels/weight.h"

namespace nq {
namespace {

// The taps of one channel block start at any block of a superblock and end at any other.
size_t codes_bytes(uint32_t depth) {
  return align(uint64_t{depth} + kBlocksPerSuperblock - 1, kBlocksPerSuperblock) * kLineBytes;
}

// Returns the first tap's codes.
const int8_t* unpack_taps(UnpackFn unpack, const PackedWeight& weight, uint32_t channel, int8_t* codes) {
  const uint64_t depth = weight.block.depth, first = channel / kDepthwiseChannels * depth;
  const uint64_t first_superblock = first / kBlocksPerSuperblock;
  const uint64_t last_superblock = (first + depth - 1) / kBlocksPerSuperblock;
  for (uint64_t superblock = first_superblock; superblock <= last_superblock; ++superblock) {
    unpack(packed_levels(weight, superblock), cell_middle(weight.block, weight.level, superblock), 1,
           codes + (superblock - first_superblock) * kSuperblockWeights);
  }
  return codes + first % kBlocksPerSuperblock * kLineBytes;
}

}  // namespace

size_t depthwise_scratch_bytes(uint32_t depth) {
  return codes_bytes(depth) + align(uint64_t{depth}, 4) * kDepthwiseChannels * sizeof(int16_t);
}

void run_taps(const TapKernel& kernel, const PackedWeight& weight, const int8_t* const* taps, int num_pixels,
              uint32_t first_channel, uint32_t num_channels, const int32_t* bias, const Requantization& requantization,
              int8_t* out, size_t out_stride, uint8_t* scratch) {
  const uint32_t end = std::min(first_channel + num_channels, weight.block.channels), depth = weight.block.depth;
  for (uint32_t channel = first_channel; channel < end; channel += kDepthwiseChannels) {
    const uint32_t count = std::min<uint32_t>(kDepthwiseChannels, end - channel);
    const int8_t* codes = unpack_taps(kernel.unpack, weight, channel, reinterpret_cast<int8_t*>(scratch));
    const DepthwiseTile tile = {codes, depth, taps, num_pixels, channel, count, bias + channel};
    Requantization of_tile = requantization;
    of_tile.multiplier += channel;
    kernel.multiply(tile, of_tile, out + channel, out_stride, scratch + codes_bytes(depth));
  }
}

}  // namespace nq
