// Codes as tile loads take them, unpacked a tile at a time. Textual, as amx_tiles.h.
#pragma once

#include <algorithm>

#include "kernels/gemm/amx_tiles.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

namespace {

// Where the steps of a set of blocks are read: tiles of a step's blocks follow each other, and the first step follows
// the last.
struct StepCodes {
  const int8_t* ring;
  size_t step_bytes;
  uint32_t slot, capacity;

  const int8_t* next() {
    const int8_t* codes = ring + slot * step_bytes;
    if (++slot == capacity) slot = 0;
    return codes;
  }
};

// Unpacks set after set of a few blocks of channels, of each all steps of the depth, onto a ring of `capacity` steps.
class CodeRing {
 public:
  // Blocks first_block to `end`, `width` of them a set, the last of which may have fewer.
  CodeRing(const PackedWeight& weight, const CellMiddle& middle, uint32_t first_block, uint32_t end, uint32_t width,
           uint32_t capacity, int8_t* codes)
      : weight_(weight),
        middle_(middle),
        superblocks_((weight.block.depth + kMatrixDepth - 1) / kMatrixDepth),
        steps_(steps_of(weight.block.depth)),
        end_(end),
        width_(width),
        capacity_(capacity),
        codes_(codes) {
    begin_set(first_block);
  }

  bool left() const { return set_blocks_ > 0; }
  int8_t* codes() const { return codes_; }

  void unpack_tile() {
    int8_t* codes = codes_ + (slot_ * width_ + tile_) * kStepCodes;
    PackedLevels& levels = levels_[tile_];
    unpack_avx512vnni(levels, middle_, std::min(superblocks_ - kStepSuperblocks * step_, kStepSuperblocks), codes);
    for (int k = 0; k < levels.num_levels; ++k) {
      levels.data[k] += kStepSuperblocks * static_cast<size_t>(levels.bits[k]) * kLineBytes;
    }
    if (step_ + 1 == steps_) clear_beyond_depth(codes);
    if (++tile_ < set_blocks_) return;
    tile_ = 0;
    if (++slot_ == capacity_) slot_ = 0;
    if (++step_ == steps_) begin_set(set_ + width_);
  }

  // The rest of a step's tiles, or all of the next step's.
  void unpack_step() {
    if (!left()) return;
    do unpack_tile();
    while (tile_ > 0);
  }

 private:
  static constexpr uint32_t kStepSuperblocks = kStepDepth / kMatrixDepth;

  void begin_set(uint32_t block) {
    set_ = block;
    set_blocks_ = block < end_ ? std::min(width_, end_ - block) : 0;
    step_ = 0;
    for (uint32_t b = 0; b < set_blocks_; ++b) levels_[b] = packed_levels(weight_, uint64_t{block + b} * superblocks_);
  }

  // Packed codes behind the depth are not zero, and tile loads of rows read on there.
  void clear_beyond_depth(int8_t* codes) const {
    const uint32_t used = weight_.block.depth - step_ * kStepDepth;
    for (size_t at = (used + kDepthPerBlock - 1) / kDepthPerBlock * kLineBytes; at < kStepCodes; at += kLineBytes) {
      _mm512_storeu_si512(codes + at, _mm512_setzero_si512());
    }
  }

  const PackedWeight& weight_;
  const CellMiddle& middle_;
  uint32_t superblocks_, steps_, end_, width_, capacity_;
  int8_t* codes_;
  PackedLevels levels_[kTileBlocks];  // of the next tile of each block
  uint32_t set_ = 0, set_blocks_ = 0, step_ = 0, tile_ = 0, slot_ = 0;
};

// Codes of a block whose pieces are up to 64 deep, in no multiple of it: a tile of each, with zeros behind its depth.
// `packed_order` has the block as it is unpacked, and can be read a line beyond. A piece may begin within four.
inline void align_pieces(const int8_t* packed_order, uint32_t num_pieces, uint32_t piece_depth, size_t step_bytes,
                         int8_t* out) {
  for (uint32_t k = 0, first = 0; k < num_pieces; ++k, first += piece_depth, out += step_bytes) {
    const int8_t* line = packed_order + size_t{first / kDepthPerBlock} * kLineBytes;
    const int bits = static_cast<int>(first % kDepthPerBlock) * 8;
    const __m128i down = _mm_cvtsi32_si128(bits), up = _mm_cvtsi32_si128(32 - bits);
    for (uint32_t at = 0; at < kStepDepth; at += kDepthPerBlock, line += kLineBytes) {
      __m512i codes = _mm512_setzero_si512();
      if (at < piece_depth) {
        const uint64_t of_channel = (uint64_t{1} << std::min<uint32_t>(piece_depth - at, kDepthPerBlock)) - 1;
        const __mmask64 used = 0x1111111111111111 * of_channel;
        codes = _mm512_or_si512(_mm512_srl_epi32(_mm512_loadu_si512(line), down),
                                _mm512_sll_epi32(_mm512_loadu_si512(line + kLineBytes), up));
        codes = _mm512_maskz_mov_epi8(used, codes);
      }
      _mm512_storeu_si512(out + size_t{at} * kMatrixChannels, codes);
    }
  }
}

}  // namespace
}  // namespace nq
