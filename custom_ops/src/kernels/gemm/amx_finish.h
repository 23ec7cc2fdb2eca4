// From the sums of a unit, up to 4 tiles of them, to rows of output, 64 sums at a time: a "pack" is one row of three or
// four blocks of channels, two rows of two, or four of one. Textual, as amx_tiles.h.
#pragma once

#include "kernels/gemm/amx_tiles.h"
#include "kernels/gemm/gemm_avx512.h"

namespace nq {
namespace {

// The outputs of rows in lines of `line`, the first `length` of which have one.
struct OutputLines {
  int8_t* out;
  size_t stride;
  int line, length;

  struct Cursor {
    int8_t* next;  // of the next row that has one
    int x;         // of the next row in its line
  };

  Cursor at(int row, uint32_t channel) const {
    const int x = row % line;
    const auto before = static_cast<size_t>(row / line * length + (x < length ? x : length));
    return {out + channel + before * stride, x};
  }

  // The output of a row, after which the cursor is at the next one; null if it has none.
  int8_t* take(Cursor* cursor) const {
    int8_t* now = nullptr;
    if (cursor->x < length) {
      now = cursor->next;
      cursor->next += stride;
    }
    if (++cursor->x == line) cursor->x = 0;
    return now;
  }
};

// Sums on their way to the output, a few packs at a time.
struct Finish {
  void (*packs)(Finish* finish, int count) = nullptr;
  const Requantizer* requantizer = nullptr;
  const float* multiplier = nullptr;  // of the first channel
  uint32_t num_channels = 0;
  const OutputLines* lines = nullptr;
  const int32_t* sums = nullptr;
  int num_groups = 0, group_rows = 0;
  int group = 0, row = 0;
  OutputLines::Cursor cursors[kAccumulators] = {};  // of each group

  bool left() const { return group < num_groups; }
  void some(int count) {
    if (left()) packs(this, count);
  }
  void rest() { some(kAccumulators * kGroupRows); }
};

// One row's part of a pack; `channels` says which of its bytes are stored.
template <int kBlocks, int kRow>
[[gnu::always_inline]] inline void store_row(__m512i codes, __mmask64 channels, int8_t* out) {
  if (out == nullptr) return;
  if constexpr (kBlocks == 1) {
    _mm_mask_storeu_epi8(out, static_cast<__mmask16>(channels), _mm512_extracti32x4_epi32(codes, kRow));
  } else if constexpr (kBlocks == 2) {
    _mm256_mask_storeu_epi8(out, static_cast<__mmask32>(channels), _mm512_extracti64x4_epi64(codes, kRow));
  } else if (kBlocks == kTileBlocks && ~channels == 0) {
    _mm512_storeu_si512(out, codes);  // a store with a mask takes longer
  } else {
    _mm512_mask_storeu_epi8(out, channels, codes);
  }
}

template <int kBlocks, Clamp kClamp>
void finish_packs(Finish* finish, int count) {
  constexpr int kPackRows = kBlocks == 1 ? 4 : kBlocks == 2 ? 2 : 1;
  const Requantizer requantizer = *finish->requantizer;
  const __mmask64 channels = first_lanes(finish->num_channels);
  __m512 multiplier[kBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) multiplier[b] = _mm512_loadu_ps(finish->multiplier + b * kMatrixChannels);
  for (; count > 0 && finish->left(); --count) {
    __m512i scaled[kTileBlocks] = {};
#pragma GCC unroll 4
    for (int v = 0; v < kBlocks * kPackRows; ++v) {
      const __m512i sums = _mm512_load_si512(finish->sums + v * kMatrixChannels);
      scaled[v] = scale_sums<kClamp>(requantizer, sums, multiplier[v % kBlocks]);
    }
    const __m512i codes = in_order(pack_codes<kClamp>(requantizer, scaled[0], scaled[1], scaled[2], scaled[3]));
    OutputLines::Cursor* cursor = &finish->cursors[finish->group];
    const int rows = finish->group_rows - finish->row;
    store_row<kBlocks, 0>(codes, channels, finish->lines->take(cursor));
    if constexpr (kPackRows > 1) {
      if (rows > 1) store_row<kBlocks, 1>(codes, channels, finish->lines->take(cursor));
    }
    if constexpr (kPackRows > 2) {
      if (rows > 2) store_row<kBlocks, 2>(codes, channels, finish->lines->take(cursor));
      if (rows > 3) store_row<kBlocks, 3>(codes, channels, finish->lines->take(cursor));
    }
    finish->sums += kPackRows * kBlocks * kMatrixChannels;
    finish->row += kPackRows;
    if (finish->row >= finish->group_rows) finish->row = 0, ++finish->group;
  }
}

inline decltype(Finish::packs) find_packs(int num_blocks, Clamp clamp) {
#define NQ_CLAMPS(blocks)                                                              \
  {                                                                                    \
    finish_packs<blocks, Clamp::kFromLowest>, finish_packs<blocks, Clamp::kSaturates>, \
        finish_packs<blocks, Clamp::kCodes>, finish_packs<blocks, Clamp::kSums>        \
  }
  constexpr decltype(Finish::packs) kPacks[kTileBlocks][kClamps] = {NQ_CLAMPS(1), NQ_CLAMPS(2), NQ_CLAMPS(3),
                                                                    NQ_CLAMPS(4)};
#undef NQ_CLAMPS
  return kPacks[num_blocks - 1][static_cast<int>(clamp)];
}

}  // namespace
}  // namespace nq
