// The walk over the channels that every kernel shares: it unpacks the taps of 64 channels once and runs all pixels over
// them. A kernel's file has the arithmetic alone, so that nothing else is compiled with its ISA flags.
#include "kernels/depthwise/depthwise.h"

#include <algorithm>

#include "kernels/unpack/weight.h"

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

void multiply(const DepthwiseKernel& kernel, const DepthwiseTile& tile, const Requantization& requantization,
              int8_t* out, size_t out_stride) {
  kernel.multiply(tile, requantization, out, out_stride);
}

void multiply(const DepthwiseKernel& kernel, const DepthwiseTile& tile, const Dequantization& dequantization,
              float* out, size_t out_stride) {
  kernel.multiply_float(tile, dequantization, out, out_stride);
}

template <typename Finish, typename Out>
void run_taps(const DepthwiseKernel& kernel, const DepthwiseTask& task, const Finish& finish, Out* out,
              size_t out_stride) {
  const OptionBlock& weight = task.weight.block;
  const uint32_t end = std::min(task.first_channel + task.num_channels, weight.channels), depth = weight.depth;
  for (uint32_t channel = task.first_channel; channel < end; channel += kDepthwiseChannels) {
    const uint32_t count = std::min<uint32_t>(kDepthwiseChannels, end - channel);
    const int8_t* codes = unpack_taps(kernel.unpack, task.weight, channel, reinterpret_cast<int8_t*>(task.scratch));
    const DepthwiseTile tile = {codes,
                                depth,
                                task.pixels,
                                channel,
                                count,
                                task.bias + channel,
                                task.scratch + codes_bytes(depth),
                                task.weight.least};
    multiply(kernel, tile, finish.from_channel(channel), out + channel, out_stride);
  }
}

}  // namespace

size_t depthwise_scratch_bytes(uint32_t depth) {
  return codes_bytes(depth) + align(uint64_t{depth}, 4) * kDepthwiseChannels * sizeof(int16_t);
}

void run_depthwise(const DepthwiseKernel& kernel, const DepthwiseTask& task, const Requantization& requantization,
                   int8_t* out, size_t out_stride) {
  run_taps(kernel, task, requantization, out, out_stride);
}

void run_depthwise(const DepthwiseKernel& kernel, const DepthwiseTask& task, const Dequantization& dequantization,
                   float* out, size_t out_stride) {
  run_taps(kernel, task, dequantization, out, out_stride);
}

}  // namespace nq
