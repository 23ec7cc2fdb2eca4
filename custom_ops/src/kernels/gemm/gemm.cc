// The walk over a matrix that every kernel shares: it unpacks a tile of channels once and runs all rows over it. A
// kernel's file has the arithmetic alone, so that nothing else is compiled with its ISA flags.
#include "kernels/gemm/gemm.h"

#include <algorithm>

#include "kernels/unpack/weight.h"

namespace nq {
namespace {

// Tuned with `gemm_bench`: the first with its shapes of one row, the second with all others.
constexpr uint32_t kRowSuperblocks = 8;    // unpacked at a time for a single row: 16 KB of a tile's codes stay in L1
constexpr uint32_t kInterleavedBatch = 4;  // of one block, before the next one's codes between them
constexpr int kMostRows = 32;              // of any kernel's tile

uint32_t depth_blocks(uint32_t depth) { return (depth + kMatrixDepth - 1) / kMatrixDepth; }

// The packed bytes of the tile that comes next, fetched into the L2 cache while this one is multiplied: a share for
// every few rows, so that unpacking does not wait for memory.
class Lookahead {
 public:
  // Superblocks `first` to first + count; `nothing` if count is 0.
  Lookahead(const PackedWeight& weight, uint64_t first, uint64_t count, int num_shares, const GemmAhead& nothing)
      : nothing_(nothing) {
    if (count == 0) return;
    levels_ = packed_levels(weight, first);
    count_ = count;
    size_t lines = 0;
    for (int k = 0; k < levels_.num_levels; ++k) lines += lines_of(k);
    // A share ends where its level does.
    share_ = lines / static_cast<size_t>(std::max(num_shares - levels_.num_levels + 1, 1)) + 1;
  }

  // For a tile of so many steps of 4 in depth; none are left to a kernel that fetches nothing.
  GemmAhead next(size_t num_steps) {
    if (level_ == levels_.num_levels) return nothing_;
    const uint8_t* bytes = levels_.data[level_] + line_ * kLineBytes;
    size_t lines = std::min(share_, lines_of(level_) - line_);
    line_ += lines;
    if (line_ == lines_of(level_)) ++level_, line_ = 0;
    for (; lines > num_steps; --lines, bytes += kLineBytes) __builtin_prefetch(bytes, 0, 2);
    if (lines == 0) return nothing_;
    return {bytes, (lines * kLineBytes + num_steps - 1) / num_steps};
  }

 private:
  size_t lines_of(int level) const { return count_ * static_cast<size_t>(levels_.bits[level]); }

  GemmAhead nothing_;
  PackedLevels levels_;
  size_t count_ = 0, share_ = 0;
  int level_ = 0;
  size_t line_ = 0;
};

// Superblocks first to first + count of each of a tile's blocks of channels, the first of which is first_block.
void unpack_tile(const GemmKernel& kernel, const PackedWeight& weight, const CellMiddle& middle, uint32_t first_block,
                 uint32_t first, uint32_t count, GemmTile* tile, int8_t* codes) {
  const uint64_t total = depth_blocks(weight.block.depth);
  const bool interleaved = kernel.codes.unpack_interleaved != nullptr;
  const UnpackFn unpack = interleaved ? kernel.codes.unpack_interleaved : kernel.codes.unpack;
  const size_t packed_bytes = size_t{kSuperblockWeights} * kernel.codes.bytes;
  const size_t superblock_bytes = interleaved ? kBlocksPerSuperblock * kInterleavedStride : packed_bytes;
  const uint32_t batch = interleaved ? kInterleavedBatch : count;
  tile->codes = codes;
  tile->block_stride = interleaved ? kLineBytes : count * packed_bytes;
  for (uint32_t done = 0; done < count; done += batch) {
    const uint32_t now = std::min(batch, count - done);
    for (int b = 0; b < tile->num_blocks; ++b) {
      const PackedLevels levels =
          packed_levels(weight, (first_block + static_cast<uint64_t>(b)) * total + first + done);
      unpack(levels, middle, now, codes + b * tile->block_stride + done * superblock_bytes);
    }
  }
}

// Adds the products of a row's whole superblocks to the tile's bias where the kernel has a function that does so;
// returns how many superblocks that were.
uint32_t add_packed_row(const GemmKernel& kernel, const GemmTask& task, const CellMiddle& middle, uint32_t first_block,
                        GemmTile* tile, int32_t* sums) {
  if (kernel.codes.find_unpacking_row == nullptr || tile->num_blocks < kTileBlocks) return 0;
  const uint32_t total = depth_blocks(task.weight.block.depth), whole = task.rows.piece_depth / kMatrixDepth;
  const PackedTile packed = {packed_levels(task.weight, uint64_t{first_block} * total), total, middle};
  const UnpackingRowFn add = kernel.codes.find_unpacking_row(packed.levels);
  if (add == nullptr) return 0;
  std::copy(tile->bias, tile->bias + kTileChannels, sums);
  tile->bias = sums;
  add(task.rows.pieces[0], packed, whole, sums);
  return whole;
}

// One row, whose codes are used once: they go through the L1 cache a piece of the depth at a time.
void accumulate_row(const GemmKernel& kernel, const GemmTask& task, const CellMiddle& middle, uint32_t first_block,
                    GemmTile tile, int32_t* sums) {
  const int8_t* row = task.rows.pieces[0];
  const uint32_t total = depth_blocks(task.weight.block.depth), most = kRowSuperblocks / kernel.codes.bytes;
  uint32_t first = add_packed_row(kernel, task, middle, first_block, &tile, sums);
  for (; first < total; first += most) {
    const uint32_t count = std::min(most, total - first);
    unpack_tile(kernel, task.weight, middle, first_block, first, count, &tile, reinterpret_cast<int8_t*>(task.scratch));
    const uint32_t done = first * kMatrixDepth;
    const int8_t* piece = row + size_t{done} * kernel.activations.bytes;
    tile.rows = {&piece, 1, std::min<uint32_t>(count * kMatrixDepth, task.rows.piece_depth - done), 1};
    kernel.sums.accumulate(tile, sums);
    tile.bias = sums;
  }
}

void finish_row(const GemmKernel& kernel, const int32_t* sums, const Requantization& requantization, int8_t* out,
                uint32_t num_channels) {
  kernel.sums.requantize(sums, requantization, out, num_channels);
}

void finish_row(const GemmKernel& kernel, const int32_t* sums, const Dequantization& dequantization, float* out,
                uint32_t num_channels) {
  kernel.sums.dequantize(sums, 1, dequantization, out, 0, num_channels);
}

void finish_rows(const GemmKernel& kernel, const GemmTile& tile, int, const Requantization& requantization, int8_t* out,
                 size_t out_stride, uint32_t num_channels) {
  kernel.multiply(tile, requantization, out, out_stride, num_channels);
}

void finish_rows(const GemmKernel& kernel, const GemmTile& tile, int first_row, const Dequantization& dequantization,
                 float* out, size_t out_stride, uint32_t num_channels) {
  const Dequantization of_rows = dequantization.from_row(static_cast<size_t>(first_row));
  if (kernel.multiply_float != nullptr) return kernel.multiply_float(tile, of_rows, out, out_stride, num_channels);
  alignas(kLineBytes) int32_t sums[kMostRows * kTileChannels];
  kernel.sums.accumulate(tile, sums);
  kernel.sums.dequantize(sums, tile.rows.num_rows, of_rows, out, out_stride, num_channels);
}

void finish_sums(const GemmKernel& kernel, const int32_t* sums, const Requantization& requantization, int8_t* out,
                 size_t out_stride, uint32_t num_channels) {
  for (int row = 0; row < kernel.rows; ++row, sums += kTileChannels, out += out_stride) {
    kernel.sums.requantize(sums, requantization, out, num_channels);
  }
}

void finish_sums(const GemmKernel& kernel, const int32_t* sums, const Dequantization& dequantization, float* out,
                 size_t out_stride, uint32_t num_channels) {
  kernel.sums.dequantize(sums, kernel.rows, dequantization, out, out_stride, num_channels);
}

// The kernel's function that unpacks while it multiplies; null where it has none for this tile.
UnpackingFn find_unpacking(const GemmKernel& kernel, const GemmTile& tile, const PackedLevels& levels) {
  if (kernel.codes.find_unpacking == nullptr || tile.num_blocks < kTileBlocks || tile.rows.num_rows < kernel.rows ||
      tile.rows.piece_depth % kMatrixDepth != 0) {
    return nullptr;
  }
  return kernel.codes.find_unpacking(levels);
}

int tile_rows(const GemmKernel& kernel, int num_blocks) {
  return num_blocks <= kernel.narrow.blocks ? kernel.narrow.rows : kernel.rows;
}

uint32_t steps_of(const GemmRows& rows) { return rows.piece_depth / kDepthPerBlock * rows.num_pieces; }

template <typename Finish, typename Out>
void run_tile(const GemmKernel& kernel, const GemmTask& task, const CellMiddle& middle, uint32_t first_block,
              GemmTile tile, int8_t* codes, Lookahead next, const Finish& finish, Out* out, size_t out_stride,
              uint32_t num_channels) {
  const uint32_t total = depth_blocks(task.weight.block.depth);
  const size_t num_steps = kernel.codes.fetches_ahead ? steps_of(task.rows) : 0;
  const int rows_a_tile = tile_rows(kernel, tile.num_blocks);
  const PackedTile packed = {packed_levels(task.weight, uint64_t{first_block} * total), total, middle};
  UnpackingFn unpacking = find_unpacking(kernel, tile, packed.levels);
  if (unpacking == nullptr) unpack_tile(kernel, task.weight, middle, first_block, 0, total, &tile, codes);
  int count = 0;
  for (int row = 0; row < task.rows.num_rows; row += count) {
    count = std::min(unpacking == nullptr ? rows_a_tile : kernel.rows, task.rows.num_rows - row);
    tile.ahead = next.next(num_steps);
    tile.rows.num_rows = count;
    if (unpacking != nullptr) {
      alignas(kLineBytes) int32_t sums[kMostRows * kTileChannels];
      unpacking(tile, packed, codes, sums);
      finish_sums(kernel, sums, finish, out, out_stride, num_channels);
      unpacking = nullptr;
    } else {
      finish_rows(kernel, tile, row, finish, out, out_stride, num_channels);
    }
    tile.rows.pieces += static_cast<size_t>(count) * tile.rows.num_pieces;
    out += static_cast<size_t>(count) * out_stride;
  }
}

template <typename Finish, typename Out>
void run_tiles(const GemmKernel& kernel, const GemmTask& task, const Finish& finish, Out* out, size_t out_stride) {
  auto* codes = reinterpret_cast<int8_t*>(task.scratch);
  const OptionBlock& weight = task.weight.block;
  const CellMiddle middle = cell_middle(weight, task.weight.level, 0);
  const uint32_t total = depth_blocks(weight.depth), end = task.first_block + task.num_blocks;
  for (uint32_t block = task.first_block; block < end; block += kTileBlocks) {
    const uint32_t channel = block * kMatrixChannels;
    if (channel >= weight.channels) return;
    const auto blocks = static_cast<int>(std::min<uint32_t>(kTileBlocks, end - block));
    const uint32_t channels = std::min<uint32_t>(blocks * kMatrixChannels, weight.channels - channel);
    GemmTile tile = {codes, 0, blocks, task.rows, task.bias + channel, {codes, 0}, task.weight.least};
    if (task.rows.num_rows == 1 && task.rows.num_pieces == 1) {
      alignas(kLineBytes) int32_t sums[kTileChannels];
      accumulate_row(kernel, task, middle, block, tile, sums);
      finish_row(kernel, sums, finish.from_channel(channel), out + channel, channels);
    } else {
      const uint32_t ahead = std::min<uint32_t>(end - block - static_cast<uint32_t>(blocks), kTileBlocks);
      const int rows_a_tile = tile_rows(kernel, blocks);
      const Lookahead next(task.weight, uint64_t{block + kTileBlocks} * total, uint64_t{ahead} * total,
                           (task.rows.num_rows + rows_a_tile - 1) / rows_a_tile, tile.ahead);
      run_tile(kernel, task, middle, block, tile, codes, next, finish.from_channel(channel), out + channel, out_stride,
               channels);
    }
  }
}

void run_rows(const GemmKernel& kernel, const GemmTask& task, const Requantization& requantization, int8_t* out,
              size_t out_stride) {
  if (task.rows.spacing.step == 0) return run_tiles(kernel, task, requantization, out, out_stride);
  const CellMiddle middle = cell_middle(task.weight.block, task.weight.level, 0);
  kernel.spaced.run(task, middle, requantization, out, out_stride);
}

void run_rows(const GemmKernel& kernel, const GemmTask& task, const Dequantization& dequantization, float* out,
              size_t out_stride) {
  run_tiles(kernel, task, dequantization, out, out_stride);
}

template <typename Finish, typename Out>
void run_task(const GemmKernel& kernel, const GemmTask& task, const Finish& finish, Out* out, size_t out_stride) {
  if (kernel.around.begin != nullptr) kernel.around.begin();
  run_rows(kernel, task, finish, out, out_stride);
  if (kernel.around.end != nullptr) kernel.around.end();
}

}  // namespace

// AMX reads the last block's codes in twos of superblocks.
size_t gemm_scratch_bytes(const GemmKernel& kernel, uint32_t depth, uint32_t num_pieces) {
  const size_t tile =
      size_t{kTileChannels} * kMatrixDepth * depth_blocks(depth) * kernel.codes.bytes + kSuperblockWeights;
  if (kernel.spaced.scratch_bytes == nullptr) return tile;
  return std::max(tile, kernel.spaced.scratch_bytes(depth, num_pieces));
}

void run_gemm(const GemmKernel& kernel, const GemmTask& task, const Requantization& requantization, int8_t* out,
              size_t out_stride) {
  run_task(kernel, task, requantization, out, out_stride);
}

void run_gemm(const GemmKernel& kernel, const GemmTask& task, const Dequantization& dequantization, float* out,
              size_t out_stride) {
  run_task(kernel, task, dequantization, out, out_stride);
}

}  // namespace nq
