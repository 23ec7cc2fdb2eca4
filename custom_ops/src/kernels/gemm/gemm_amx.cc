// AMX: two groups of 16 rows by two blocks of 16 channels are four tiles of sums, so that each group and each block is
// loaded once and used twice. Spaced rows to int8, as layers have them, go through amx_walk.h; this file has the rest:
// rows that lie anywhere, and sums for floats.
//
// Written without a CPU that has AMX: the tests compile this file against tiles in software (tests/emulated_tiles.h),
// and has_amx() compares it with the scalar kernel before it is ever chosen.
#if defined(NQ_AMX)
#include <algorithm>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm/amx_walk.h"
#include "kernels/gemm/gemm_avx512.h"
#include "kernels/gemm/packed_stream_avx512.h"

namespace nq {

extern const GemmKernel gemm_amx;

namespace {

constexpr int kRows = 2 * kGroupRows;
constexpr int kSpeed = 8;  // 2960 GMAC/s, measured on hardware, over the 377 of AVX-512 VNNI
constexpr size_t kSumStride = kTileChannels * sizeof(int32_t);

// Registers belong to the thread, and whoever used them last left them configured as they liked.
void begin() { _tile_loadconfig(&kWholeTiles); }

void end() { _tile_release(); }

// 16 rows of activations as tile loads take them. Where there are fewer, the last one stands in for the others: the
// products of a lone row come from it 16 times.
class RowGroup {
 public:
  struct Step {
    const int8_t* first;
    size_t stride;
  };

  void set(const GemmRows& rows, int first_row) {
    for (int r = 0; r < kGroupRows; ++r) rows_[r] = rows.pieces[std::min(first_row + r, rows.num_rows - 1)];
    stride_ = distance(0);
    evenly_spaced_ = true;
    for (int r = 1; r < kGroupRows - 1; ++r) evenly_spaced_ &= distance(r) == stride_;
    whole_depth_ = rows.piece_depth / kStepDepth * kStepDepth;
    if (whole_depth_ < rows.piece_depth) copy(whole_depth_, rows.piece_depth - whole_depth_, end_);
  }

  // 64 activations of each row. The end of the depth is filled up with zeros, for the codes behind it are not zero.
  Step step(uint32_t at) {
    if (at >= whole_depth_) return {end_, kStepDepth};
    if (evenly_spaced_) return {rows_[0] + at, stride_};
    copy(at, kStepDepth, copied_);
    return {copied_, kStepDepth};
  }

 private:
  size_t distance(int row) const {
    return reinterpret_cast<uintptr_t>(rows_[row + 1]) - reinterpret_cast<uintptr_t>(rows_[row]);
  }

  void copy(uint32_t at, uint32_t depth, int8_t* out) const {
    const __mmask64 mask = first_lanes(depth);
    settle_memory();
    for (int r = 0; r < kGroupRows; ++r) {
      _mm512_store_si512(out + size_t{kStepDepth} * r, _mm512_maskz_loadu_epi8(mask, rows_[r] + at));
    }
    settle_memory();
  }

  const int8_t* rows_[kGroupRows];
  size_t stride_;
  bool evenly_spaced_;
  uint32_t whole_depth_;
  alignas(kLineBytes) int8_t copied_[kGroupRows * kStepDepth], end_[kGroupRows * kStepDepth];
};

// One group of rows by 1 to 4 blocks of channels.
template <int kBlocks>
void multiply_group(const GemmTile& tile, RowGroup* group, int32_t* sums) {
  settle_memory();
  _tile_loadd(0, tile.bias, 0);
  if constexpr (kBlocks > 1) _tile_loadd(1, tile.bias + kMatrixChannels, 0);
  if constexpr (kBlocks > 2) _tile_loadd(2, tile.bias + 2 * kMatrixChannels, 0);
  if constexpr (kBlocks > 3) _tile_loadd(3, tile.bias + 3 * kMatrixChannels, 0);
  const int8_t* codes = tile.codes;
  for (uint32_t at = 0; at < tile.rows.piece_depth; at += kStepDepth) {
    const RowGroup::Step step = group->step(at);
    _tile_loadd(4, step.first, step.stride);
    _tile_loadd(6, codes, kLineBytes);
    _tile_dpbssd(0, 4, 6);
    if constexpr (kBlocks > 1) {
      _tile_loadd(7, codes + tile.block_stride, kLineBytes);
      _tile_dpbssd(1, 4, 7);
    }
    if constexpr (kBlocks > 2) {
      _tile_loadd(6, codes + 2 * tile.block_stride, kLineBytes);
      _tile_dpbssd(2, 4, 6);
    }
    if constexpr (kBlocks > 3) {
      _tile_loadd(7, codes + 3 * tile.block_stride, kLineBytes);
      _tile_dpbssd(3, 4, 7);
    }
    codes += kStepCodes;
  }
  _tile_stored(0, sums, kSumStride);
  if constexpr (kBlocks > 1) _tile_stored(1, sums + kMatrixChannels, kSumStride);
  if constexpr (kBlocks > 2) _tile_stored(2, sums + 2 * kMatrixChannels, kSumStride);
  if constexpr (kBlocks > 3) _tile_stored(3, sums + 3 * kMatrixChannels, kSumStride);
}

// Two groups of rows by 1 or 2 blocks of channels, from `block` on.
template <int kBlocks>
void multiply_groups(const GemmTile& tile, int block, RowGroup* upper, RowGroup* lower, int32_t* upper_sums,
                     int32_t* lower_sums) {
  const int channel = block * kMatrixChannels;
  const int8_t* codes = tile.codes + static_cast<size_t>(block) * tile.block_stride;
  settle_memory();
  _tile_loadd(0, tile.bias + channel, 0);
  _tile_loadd(2, tile.bias + channel, 0);
  if constexpr (kBlocks > 1) {
    _tile_loadd(1, tile.bias + channel + kMatrixChannels, 0);
    _tile_loadd(3, tile.bias + channel + kMatrixChannels, 0);
  }
  for (uint32_t at = 0; at < tile.rows.piece_depth; at += kStepDepth) {
    const RowGroup::Step upper_step = upper->step(at), lower_step = lower->step(at);
    _tile_loadd(6, codes, kLineBytes);
    _tile_loadd(4, upper_step.first, upper_step.stride);
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(5, lower_step.first, lower_step.stride);
    _tile_dpbssd(2, 5, 6);
    if constexpr (kBlocks > 1) {
      _tile_loadd(7, codes + tile.block_stride, kLineBytes);
      _tile_dpbssd(1, 4, 7);
      _tile_dpbssd(3, 5, 7);
    }
    codes += kStepCodes;
  }
  _tile_stored(0, upper_sums + channel, kSumStride);
  _tile_stored(2, lower_sums + channel, kSumStride);
  if constexpr (kBlocks > 1) {
    _tile_stored(1, upper_sums + channel + kMatrixChannels, kSumStride);
    _tile_stored(3, lower_sums + channel + kMatrixChannels, kSumStride);
  }
}

constexpr decltype(&multiply_group<1>) kMultiplyGroup[kTileBlocks] = {multiply_group<1>, multiply_group<2>,
                                                                      multiply_group<3>, multiply_group<4>};

// Writes at least 16 rows of sums. From 17 rows on, the lower group ends at the last row, and may compute some of the
// upper one's again.
void sum_tile(const GemmTile& tile, int32_t* sums) {
  RowGroup upper, lower;
  upper.set(tile.rows, 0);
  if (tile.rows.num_rows <= kGroupRows) return kMultiplyGroup[tile.num_blocks - 1](tile, &upper, sums);
  const int first_lower = tile.rows.num_rows - kGroupRows;
  lower.set(tile.rows, first_lower);
  int32_t* lower_sums = sums + first_lower * kTileChannels;
  int block = 0;
  for (; block + 2 <= tile.num_blocks; block += 2) {
    multiply_groups<2>(tile, block, &upper, &lower, sums, lower_sums);
  }
  if (block < tile.num_blocks) multiply_groups<1>(tile, block, &upper, &lower, sums, lower_sums);
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  alignas(kLineBytes) int32_t sums[kRows * kTileChannels];
  sum_tile(tile, sums);
  requantize_rows(sums, tile.rows.num_rows, requantization, out, out_stride, num_channels);
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  if (tile.rows.num_rows >= kGroupRows) return sum_tile(tile, sums);
  alignas(kLineBytes) int32_t group[kGroupRows * kTileChannels];
  sum_tile(tile, group);
  const size_t row_bytes = static_cast<size_t>(tile.num_blocks) * kMatrixChannels * sizeof(int32_t);
  for (int r = 0; r < tile.rows.num_rows; ++r) {
    std::memcpy(sums + r * kTileChannels, group + r * kTileChannels, row_bytes);
  }
}

}  // namespace

constexpr GemmKernel gemm_amx = [] {
  GemmKernel kernel;
  kernel.isa = "amx";
  kernel.supported = has_amx;
  kernel.rows = kRows;
  kernel.speed = kSpeed;
  kernel.codes.unpack = unpack_avx512vnni;
  kernel.codes.find_unpacking_row = find_unpacking_row<Unsigned::kCodes>;  // 15 of a tile's 16 rows would be idle
  kernel.codes.fetches_ahead = false;
  kernel.spaced.run = run_spaced;
  kernel.spaced.scratch_bytes = SpacedWalk::scratch_bytes;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  kernel.around.begin = begin;
  kernel.around.end = end;
  return kernel;
}();

}  // namespace nq
#endif
