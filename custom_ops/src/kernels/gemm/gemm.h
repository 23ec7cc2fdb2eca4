// Matrix kernels: int8 rows times a packed weight, requantized to int8 or scaled to float. They know neither files nor
// TFLite.
//
// ISA "scalar" is the specification; every other kernel gives the same bytes. gemm_kernels.h lists them all, and drives
// declarations, dispatch, tests and the benchmark.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "kernels/requantize/requantization.h"
#include "kernels/unpack/packed_weight.h"
#include "status.h"

namespace nq {

inline constexpr int kTileBlocks = 4;  // blocks of 16 channels
inline constexpr int kTileChannels = kTileBlocks * kMatrixChannels;

// Rows that are evenly spaced, as windows on a grid, pixels and copied rows are: only the first row has its pieces
// given. Each has one piece, or several whose depth is a multiple of 64, or several of up to 64 that lie in memory
// which goes on for 64 bytes behind any. The rows are in lines of `line`, of which the first `length` have outputs, one
// behind another.
struct GemmSpacing {
  size_t step = 0;  // from a row to the next; 0: rows are not spaced
  int line = 0, length = 0;
  size_t line_step = 0;  // between lines of 16 rows or more, in several pieces; 0: lines follow each other as rows do
};

// Activations in the kernel's own form (see GemmKernel). Row r lies in pieces[r * num_pieces] and the num_pieces - 1
// pointers behind it, each piece `piece_depth` activations long; a depth that is not a multiple of 4 is filled up to
// one with activations of -sum_offset.
struct GemmRows {
  const int8_t* const* pieces;
  uint32_t num_pieces;
  uint32_t piece_depth;  // a multiple of 4
  int num_rows;
  GemmSpacing spacing = {};
};

// Packed bytes that are wanted soon: a kernel may fetch `step` of them into the L2 cache for every 4 of the depth. Some
// mapped memory even where step is 0, for a look into the page tables takes longer than a multiplication.
struct GemmAhead {
  const void* bytes;
  size_t step;
};

// What a kernel multiplies at a time: some rows by up to 64 channels.
struct GemmTile {
  const int8_t* codes;  // of the first block of channels: 64 for every 4 of the depth, unless interleaved
  size_t block_stride;  // from a block of channels to the next
  int num_blocks;       // 1 to kTileBlocks
  GemmRows rows;        // num_rows is 1 to the kernel's rows
  const int32_t* bias;  // of the tile's first channel
  GemmAhead ahead;
  int8_t least = -128;  // no code is less
};

// The codes of a tile of kTileBlocks blocks as they lie packed; each piece of a row is whole superblocks long.
struct PackedTile {
  PackedLevels levels;         // of the first block of channels
  uint32_t block_superblocks;  // from a block of channels to the next
  const CellMiddle& middle;
};

// As GemmKernel::Sums::accumulate, for as many rows as a tile has, and writes the codes that it unpacks on the way.
using UnpackingFn = void (*)(const GemmTile& tile, const PackedTile& packed, int8_t* codes, int32_t* sums);

// Adds to the sums of kTileBlocks blocks the products of a single row with so many superblocks of each; the codes,
// which are used once, go through registers alone.
using UnpackingRowFn = void (*)(const int8_t* row, const PackedTile& packed, uint32_t superblocks, int32_t* sums);

struct GemmTask;

struct GemmKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  int rows = 1;                   // of a tile; multiples of this run best, as `gemm_bench ROWS` shows
  int32_t sum_offset = 0;         // what the kernel adds to each activation
  int speed = 1;                  // of products, where unpacking and copying are as fast as with other kernels

  // Tiles of up to `blocks` blocks have so many rows instead; the same as `rows` or more, a multiple of it.
  struct Narrow {
    int rows = 0, blocks = 0;
  } narrow;

  // The form of a row. Where `prepare` is null, a row is int8 as a tensor has it; otherwise prepare makes `count`
  // activations of `bytes` each. Only a kernel with `gathers` takes rows of several pieces.
  struct Activations {
    uint32_t bytes = sizeof(int8_t);
    void (*prepare)(const int8_t* in, uint32_t count, int8_t* out) = nullptr;
    bool gathers = false;
    uint32_t piece_step = 4;  // what the depth of each of several pieces is a multiple of
  } activations;

  // Where a tile's codes come from, of `bytes` each.
  struct Codes {
    uint32_t bytes = sizeof(int8_t);
    UnpackFn unpack = nullptr;
    // Where not null, they come from here instead, interleaved: for every 4 of the depth, 64 bytes of each of
    // kTileBlocks blocks. One stream of codes, where four would compete for the same sets of the L1 cache.
    UnpackFn unpack_interleaved = nullptr;
    // Where not null, gives what unpacks those levels, interleaved, under a multiplication: loads, shifts and stores go
    // where products leave room. Null for levels that it has nothing for.
    UnpackingFn (*find_unpacking)(const PackedLevels& levels) = nullptr;
    UnpackingRowFn (*find_unpacking_row)(const PackedLevels& levels) = nullptr;  // the same for a single row
    bool fetches_ahead = true;  // GemmTile's `ahead`; where false, the walk fetches it before each tile
  } codes;

  void (*multiply)(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) = nullptr;
  // To floats; null where the two halves below do it.
  void (*multiply_float)(const GemmTile& tile, const Dequantization& dequantization, float* out, size_t out_stride,
                         uint32_t num_channels) = nullptr;

  // The same in two halves.
  struct Sums {
    // bias + products, kTileChannels a row; those of channels beyond num_blocks are left alone. A single row's bias may
    // be its sums.
    void (*accumulate)(const GemmTile& tile, int32_t* sums) = nullptr;
    void (*requantize)(const int32_t* sums, const Requantization& requantization, int8_t* out,
                       uint32_t num_channels) = nullptr;
    void (*dequantize)(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                       size_t out_stride, uint32_t num_channels) = nullptr;
  } sums;

  // Where not null, does a whole task of spaced rows, to int8, which no other kernel takes; and how much of a task's
  // scratch it needs.
  struct Spaced {
    void (*run)(const GemmTask& task, const CellMiddle& middle, const Requantization& requantization, int8_t* out,
                size_t out_stride) = nullptr;
    size_t (*scratch_bytes)(uint32_t depth, uint32_t num_pieces) = nullptr;
  } spaced;

  // Around every task, on its thread, where not null: for registers that need setting up.
  struct Around {
    void (*begin)() = nullptr;
    void (*end)() = nullptr;
  } around;
};

// Channels 16 * first_block to 16 * (first_block + num_blocks) of the output of some rows, those beyond the weight's
// last one left out.
struct GemmTask {
  const PackedWeight& weight;
  GemmRows rows;
  uint32_t first_block, num_blocks;
  const int32_t* bias;  // has -(zero_point + sum_offset) * sum(w) in it, and is padded to a multiple of 64 channels
  uint8_t* scratch;     // one thread's: gemm_scratch_bytes(kernel, depth, num_pieces), 64-aligned
};

size_t gemm_scratch_bytes(const GemmKernel& kernel, uint32_t depth, uint32_t num_pieces);

// out[r * out_stride + c]
void run_gemm(const GemmKernel& kernel, const GemmTask& task, const Requantization& requantization, int8_t* out,
              size_t out_stride);
void run_gemm(const GemmKernel& kernel, const GemmTask& task, const Dequantization& dequantization, float* out,
              size_t out_stride);

}  // namespace nq
