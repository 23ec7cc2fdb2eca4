// A tile register is 16 rows of 64 bytes, and one instruction multiplies 16 rows of activations by 16 channels over 64
// of the depth. Two groups of rows by two blocks of channels are four accumulators: each group and each block is loaded
// once and used twice. Up to 16 rows are one group by four blocks.
//
// Written without a CPU that has AMX: the tests compile this file against tiles in software (tests/emulated_tiles.h),
// and has_amx() compares it with the scalar kernel before it is ever chosen.
#if defined(NQ_AMX)
#include <algorithm>
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm/gemm_avx512.h"
#include "kernels/gemm/packed_stream_avx512.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_amx;

namespace {

constexpr int kGroupRows = 16, kRows = 2 * kGroupRows;
constexpr uint32_t kStepDepth = 64;
constexpr uint32_t kCallSteps = 1 << 20;  // all rows of a task, so that one tile's epilogue lies under the next one
constexpr size_t kStepCodes = size_t{kStepDepth} * kMatrixChannels;
constexpr size_t kSumStride = kTileChannels * sizeof(int32_t);

// What ldtilecfg reads. Tiles are always whole: to change their shape for the last rows or the end of the depth would
// clear the accumulators.
struct alignas(kLineBytes) TileConfiguration {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfiguration) == kLineBytes);
constexpr TileConfiguration kWholeTiles = {
    1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};

// Registers belong to the thread, and whoever used them last left them configured as they liked.
void begin() { _tile_loadconfig(&kWholeTiles); }

void end() { _tile_release(); }

// GCC 12's tile loads do not say that they read memory.
inline void settle_memory() { asm volatile("" ::: "memory"); }

// 16 rows of activations as tile loads take them. Where there are fewer, the last one stands in for the others: the
// products of a lone row come from it 16 times.
class RowGroup {
 public:
  struct Step {
    const int8_t* first;
    size_t stride;
  };

  void set(const GemmRows& rows, int first_row) {
    spacing_ = rows.spacing;
    if (spacing_.step != 0) {
      pieces_ = rows.pieces;
      spacing_.offset += static_cast<size_t>(first_row) * spacing_.step;
      return;
    }
    for (int r = 0; r < kGroupRows; ++r) rows_[r] = rows.pieces[std::min(first_row + r, rows.num_rows - 1)];
    stride_ = distance(0);
    evenly_spaced_ = true;
    for (int r = 1; r < kGroupRows - 1; ++r) evenly_spaced_ &= distance(r) == stride_;
    whole_depth_ = rows.piece_depth / kStepDepth * kStepDepth;
    if (whole_depth_ < rows.piece_depth) copy(whole_depth_, rows.piece_depth - whole_depth_, end_);
  }

  // 64 activations of each row. The end of the depth is filled up with zeros, for the codes behind it are not zero.
  Step step(uint32_t piece, uint32_t at) {
    if (spacing_.step != 0) return {pieces_[piece] + spacing_.offset + at, spacing_.step};
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

  GemmSpacing spacing_;
  const int8_t* const* pieces_;  // of spaced rows
  const int8_t* rows_[kGroupRows];
  size_t stride_;
  bool evenly_spaced_;
  uint32_t whole_depth_;
  alignas(kLineBytes) int8_t copied_[kGroupRows * kStepDepth], end_[kGroupRows * kStepDepth];
};

// What is done between products, which leave the vector units idle: rows of the tile before are requantized and codes
// of the next channels unpacked, a share in every step of the depth.
class Aside {
 public:
  Aside(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
        uint32_t num_channels)
      : requantization_(requantization),
        out_(out),
        out_stride_(out_stride),
        num_channels_(num_channels),
        spacing_(tile.rows.spacing),
        ahead_(tile.unpack_ahead) {
    const int64_t steps = int64_t{tile.rows.num_pieces} * ((tile.rows.piece_depth + kStepDepth - 1) / kStepDepth);
    const int64_t units = (tile.num_blocks + 1) / 2, tiles = (tile.rows.num_rows + kRows - 1) / kRows;
    rows_a_step_ = static_cast<int>((kRows + steps * units - 1) / (steps * units));
    price_ = steps * units * tiles;
    if (ahead_ != nullptr) earned_ = ahead_->left();
  }

  void step() {
    if (num_rows_ > 0) requantize(rows_a_step_);
    for (credit_ += earned_; credit_ >= price_; credit_ -= price_) {
      if (ahead_->left() > 0) unpack_piece(ahead_);
    }
  }

  // Finishes the tile before, and takes the sums of this one.
  void take(const int32_t* sums, int num_rows) {
    requantize(num_rows_);
    sums_ = sums;
    num_rows_ = num_rows;
  }

 private:
  // Up to `count` rows with outputs, and those between them.
  void requantize(int count) {
    while (count > 0 && num_rows_ > 0) {
      int run = count < num_rows_ ? count : num_rows_;
      bool has_output = true;
      if (spacing_.step != 0) {
        has_output = spacing_.place < spacing_.length;
        const int in_line = (has_output ? spacing_.length : spacing_.line) - spacing_.place;
        if (run > in_line) run = in_line;
        spacing_.place = (spacing_.place + run) % spacing_.line;
      }
      if (has_output) {
        requantize_rows(sums_, run, requantization_, out_, out_stride_, num_channels_);
        out_ += static_cast<size_t>(run) * out_stride_;
        count -= run;
      }
      sums_ += run * kTileChannels;
      num_rows_ -= run;
    }
  }

  const Requantization& requantization_;
  int8_t* out_;
  size_t out_stride_;
  uint32_t num_channels_;
  GemmSpacing spacing_;
  UnpackAhead* ahead_;
  const int32_t* sums_ = nullptr;
  int num_rows_ = 0, rows_a_step_ = 0;  // num_rows_: that are left
  int64_t credit_ = 0, earned_ = 0, price_ = 1;
};

template <typename Work>
[[gnu::always_inline]] inline void for_each_step(const GemmRows& rows, Aside* aside, const Work& work) {
  for (uint32_t piece = 0; piece < rows.num_pieces; ++piece) {
    for (uint32_t at = 0; at < rows.piece_depth; at += kStepDepth) {
      work(piece, at);
      if (aside != nullptr) aside->step();
    }
  }
}

// One group of rows by 1 to 4 blocks of channels. `aside` may be null.
template <int kBlocks>
void multiply_group(const GemmTile& tile, RowGroup* group, Aside* aside, int32_t* sums) {
  settle_memory();
  _tile_loadd(0, tile.bias, 0);
  if constexpr (kBlocks > 1) _tile_loadd(1, tile.bias + kMatrixChannels, 0);
  if constexpr (kBlocks > 2) _tile_loadd(2, tile.bias + 2 * kMatrixChannels, 0);
  if constexpr (kBlocks > 3) _tile_loadd(3, tile.bias + 3 * kMatrixChannels, 0);
  const int8_t* codes = tile.codes;
  for_each_step(tile.rows, aside, [&](uint32_t piece, uint32_t at) {
    const RowGroup::Step step = group->step(piece, at);
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
  });
  _tile_stored(0, sums, kSumStride);
  if constexpr (kBlocks > 1) _tile_stored(1, sums + kMatrixChannels, kSumStride);
  if constexpr (kBlocks > 2) _tile_stored(2, sums + 2 * kMatrixChannels, kSumStride);
  if constexpr (kBlocks > 3) _tile_stored(3, sums + 3 * kMatrixChannels, kSumStride);
}

// Two groups of rows by 1 or 2 blocks of channels, from `block` on.
template <int kBlocks>
void multiply_groups(const GemmTile& tile, int block, RowGroup* upper, RowGroup* lower, Aside* aside,
                     int32_t* upper_sums, int32_t* lower_sums) {
  const int channel = block * kMatrixChannels;
  const int8_t* codes = tile.codes + static_cast<size_t>(block) * tile.block_stride;
  settle_memory();
  _tile_loadd(0, tile.bias + channel, 0);
  _tile_loadd(2, tile.bias + channel, 0);
  if constexpr (kBlocks > 1) {
    _tile_loadd(1, tile.bias + channel + kMatrixChannels, 0);
    _tile_loadd(3, tile.bias + channel + kMatrixChannels, 0);
  }
  for_each_step(tile.rows, aside, [&](uint32_t piece, uint32_t at) {
    const RowGroup::Step upper_step = upper->step(piece, at), lower_step = lower->step(piece, at);
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
  });
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
// upper one's again. Of fewer spaced rows there is memory for 16.
void sum_tile(const GemmTile& tile, Aside* aside, int32_t* sums) {
  RowGroup upper, lower;
  upper.set(tile.rows, 0);
  if (tile.rows.num_rows <= kGroupRows) return kMultiplyGroup[tile.num_blocks - 1](tile, &upper, aside, sums);
  const int first_lower = tile.rows.num_rows - kGroupRows;
  lower.set(tile.rows, first_lower);
  int32_t* lower_sums = sums + first_lower * kTileChannels;
  int block = 0;
  for (; block + 2 <= tile.num_blocks; block += 2) {
    multiply_groups<2>(tile, block, &upper, &lower, aside, sums, lower_sums);
  }
  if (block < tile.num_blocks) multiply_groups<1>(tile, block, &upper, &lower, aside, sums, lower_sums);
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  alignas(kLineBytes) int32_t sums[2][kRows * kTileChannels];
  Aside aside(tile, requantization, out, out_stride, num_channels);
  GemmTile part = tile;
  for (int left = tile.rows.num_rows, side = 0; left > 0; left -= part.rows.num_rows, side ^= 1) {
    part.rows.num_rows = std::min(kRows, left);
    if (left > kRows && left < kRows + kGroupRows) part.rows.num_rows = left - kGroupRows;  // the rest is a whole group
    sum_tile(part, &aside, sums[side]);
    aside.take(sums[side], part.rows.num_rows);
    if (part.rows.spacing.step == 0) {
      part.rows.pieces += static_cast<size_t>(part.rows.num_rows) * part.rows.num_pieces;
    } else {
      part.rows.spacing.offset += static_cast<size_t>(part.rows.num_rows) * part.rows.spacing.step;
    }
  }
  aside.take(nullptr, 0);
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  if (tile.rows.num_rows >= kGroupRows) return sum_tile(tile, nullptr, sums);
  alignas(kLineBytes) int32_t group[kGroupRows * kTileChannels];
  sum_tile(tile, nullptr, group);
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
  kernel.activations.spaced_step = kStepDepth;
  kernel.call_steps = kCallSteps;
  kernel.codes.unpack = unpack_avx512vnni;
  kernel.codes.unpacks_ahead = true;
  kernel.codes.find_unpacking_row = find_unpacking_row<Unsigned::kCodes>;  // 15 of a tile's 16 rows would be idle
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
