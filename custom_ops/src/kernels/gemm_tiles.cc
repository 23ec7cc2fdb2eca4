#include "kernels/gemm_tiles.h"

#include <algorithm>

#include "kernels/weight.h"

namespace nq {
namespace {

constexpr uint32_t kRowSuperblocks = 8;  // unpacked at a time for a single row: 16 KB of a tile's codes stay in L1

uint32_t depth_blocks(uint32_t depth) { return (depth + kMatrixDepth - 1) / kMatrixDepth; }

Requantization from_channel(Requantization requantization, uint32_t channel) {
  requantization.multiplier += channel;
  return requantization;
}

struct Output {
  Requantization requantization;
  int8_t* out;
  size_t stride;
  uint32_t num_channels;
};

void run_rows(const TileKernel& kernel, GemmTile tile, int num_rows, const Output& output) {
  int8_t* out = output.out;
  for (int row = 0; row < num_rows; row += tile.num_rows) {
    tile.num_rows = std::min(kernel.rows, num_rows - row);
    kernel.multiply(tile, output.requantization, out, output.stride, output.num_channels);
    tile.rows += tile.num_rows * tile.row_stride;
    out += tile.num_rows * output.stride;
  }
}

// The codes of one row are used once: they go through the L1 cache a piece of the depth at a time.
void run_single_row(const TileKernel& kernel, const PackedWeight& weight, const CellMiddle& middle,
                    uint32_t first_block, GemmTile tile, const Output& output, int8_t* codes) {
  alignas(kLineBytes) int32_t sums[kTileChannels];
  const uint32_t total = depth_blocks(weight.block.depth);
  for (uint32_t first = 0; first < total; first += kRowSuperblocks) {
    tile.num_superblocks = std::min(kRowSuperblocks, total - first);
    for (int b = 0; b < tile.num_blocks; ++b) {
      const uint64_t superblock = uint64_t{first_block + b} * total + first;
      kernel.unpack(packed_levels(weight, superblock), middle, tile.num_superblocks,
                    codes + size_t{tile.num_superblocks} * b * kSuperblockWeights);
    }
    kernel.accumulate(tile, sums);
    tile.bias = sums;
    tile.rows += size_t{kernel.superblock_bytes} * kRowSuperblocks;
  }
  kernel.requantize(sums, output.requantization, output.out, output.num_channels);
}

}  // namespace

size_t gemm_scratch_bytes(uint32_t depth) { return size_t{kTileChannels} * kMatrixDepth * depth_blocks(depth); }

void run_tiles(const TileKernel& kernel, const PackedWeight& weight, const uint8_t* rows, size_t row_stride,
               int num_rows, uint32_t first_block, uint32_t num_blocks, const int32_t* bias,
               const Requantization& requantization, int8_t* out, size_t out_stride, uint8_t* scratch) {
  auto* codes = reinterpret_cast<int8_t*>(scratch);
  const CellMiddle middle = cell_middle(weight.block, weight.level, 0);
  const uint32_t total = depth_blocks(weight.block.depth), end = first_block + num_blocks;
  for (uint32_t block = first_block; block < end; block += kTileBlocks) {
    const uint32_t channel = block * kMatrixChannels;
    if (channel >= weight.block.channels) return;
    const auto blocks = static_cast<int>(std::min<uint32_t>(kTileBlocks, end - block));
    const uint32_t channels = std::min<uint32_t>(blocks * kMatrixChannels, weight.block.channels - channel);
    const Output output = {from_channel(requantization, channel), out + channel, out_stride, channels};
    const GemmTile tile = {codes, total, blocks, rows, row_stride, 1, bias + channel};
    if (num_rows == 1) {
      run_single_row(kernel, weight, middle, block, tile, output, codes);
    } else {
      kernel.unpack(packed_levels(weight, uint64_t{block} * total), middle, size_t{total} * blocks, codes);
      run_rows(kernel, tile, num_rows, output);
    }
  }
}

}  // namespace nq
