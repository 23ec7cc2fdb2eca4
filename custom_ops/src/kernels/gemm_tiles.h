// The walk over a matrix that every GEMM kernel shares: it unpacks a tile of channels once and runs all rows over it.
// A kernel file gives the arithmetic alone, so that nothing else is compiled with its ISA flags.
#pragma once

#include "kernels/gemm.h"

namespace nq {

inline constexpr int kTileBlocks = 4;  // blocks of 16 channels
inline constexpr int kTileChannels = kTileBlocks * kMatrixChannels;

struct GemmTile {
  const int8_t* codes;  // num_superblocks superblocks of each block of channels
  uint32_t num_superblocks;
  int num_blocks;  // 1 to kTileBlocks
  const uint8_t* rows;
  size_t row_stride;
  int num_rows;         // 1 to the kernel's rows
  const int32_t* bias;  // of the tile's first channel, as the multipliers below
};

struct TileKernel {
  UnpackFn unpack;
  int rows;
  uint32_t superblock_bytes;  // of a prepared row, for the depth of a superblock
  void (*multiply)(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels);
  // One row: tile.bias + products into `sums`, which may be tile.bias itself.
  void (*accumulate)(const GemmTile& tile, int32_t* sums);
  void (*requantize)(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels);
};

void run_tiles(const TileKernel& kernel, const PackedWeight& weight, const uint8_t* rows, size_t row_stride,
               int num_rows, uint32_t first_block, uint32_t num_blocks, const int32_t* bias,
               const Requantization& requantization, int8_t* out, size_t out_stride, uint8_t* scratch);

}  // namespace nq
