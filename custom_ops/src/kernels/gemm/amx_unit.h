// A unit: up to 4 groups of rows by up to 4 blocks of channels, over the whole depth, in 4 tiles of sums at most. Its
// tiles are stored during the first step of the next unit, which would otherwise wait for the last product of this one.
// Textual, as amx_tiles.h.
#pragma once

#include "kernels/gemm/amx_codes.h"
#include "kernels/gemm/amx_finish.h"
#include "kernels/gemm/amx_rows.h"

namespace nq {
namespace {

// The sums of the unit before, which are still in tiles 0 to num_tiles - 1.
struct HeldSums {
  int num_tiles = 0;
  int32_t* place[kAccumulators] = {};
  size_t stride = 0;
};

// What is done between products, which leave the vector units idle: a share of it in every step of the depth.
struct Aside {
  CodeRing* codes = nullptr;                  // of sets that come next; null where there are none to unpack
  bool whole_steps = false;                   // unpacks a step of it in every step
  int64_t earned = 0, price = 1, credit = 0;  // otherwise a tile whenever `credit` reaches `price`
  Finish* finish = nullptr;                   // of the unit before the one that is held
  int packs = 0;

  void step() {
    if (whole_steps) {
      codes->unpack_step();
    } else {
      for (credit += earned; credit >= price; credit -= price) codes->unpack_tile();
    }
    finish->some(packs);
    settle_memory();
  }
};

#define NQ_STORE(tile) \
  if (held.num_tiles > tile) _tile_stored(tile, held.place[tile], held.stride)
#define NQ_START(tile, channel)             \
  if constexpr (kFirst) {                   \
    NQ_STORE(tile);                         \
    _tile_loadd(tile, bias + (channel), 0); \
  }

// A block of channels for the only group, whose rows are in tile 4.
#define NQ_BLOCK(block, tile)                                    \
  if constexpr (kBlocks > block) {                               \
    _tile_loadd(tile, codes + (block) * kStepCodes, kLineBytes); \
    NQ_START(block, (block) * kMatrixChannels)                   \
    _tile_dpbssd(block, 4, tile);                                \
  }

// A group of rows for the only block, whose codes are in tile 4.
#define NQ_GROUP(group, tile)                                          \
  if constexpr (kGroups > group) {                                     \
    _tile_loadd(tile, rows.first[group] + offset, rows.stride[group]); \
    NQ_START(group, 0)                                                 \
    _tile_dpbssd(group, tile, 4);                                      \
  }

template <int kGroups, int kBlocks, bool kFirst>
[[gnu::always_inline]] inline void multiply_step(const UnitRows& rows, size_t offset, const int8_t* codes,
                                                 const int32_t* bias, const HeldSums& held) {
  if constexpr (kGroups == 2 && kBlocks == 2) {
    _tile_loadd(6, codes, kLineBytes);
    _tile_loadd(4, rows.first[0] + offset, rows.stride[0]);
    NQ_START(0, 0)
    _tile_dpbssd(0, 4, 6);
    _tile_loadd(7, codes + kStepCodes, kLineBytes);
    NQ_START(1, kMatrixChannels)
    _tile_dpbssd(1, 4, 7);
    _tile_loadd(5, rows.first[1] + offset, rows.stride[1]);
    NQ_START(2, 0)
    _tile_dpbssd(2, 5, 6);
    NQ_START(3, kMatrixChannels)
    _tile_dpbssd(3, 5, 7);
  } else if constexpr (kGroups == 1) {
    _tile_loadd(4, rows.first[0] + offset, rows.stride[0]);
    NQ_BLOCK(0, 5)
    NQ_BLOCK(1, 6)
    NQ_BLOCK(2, 7)
    NQ_BLOCK(3, 5)
  } else {
    static_assert(kBlocks == 1);
    _tile_loadd(4, codes, kLineBytes);
    NQ_GROUP(0, 5)
    NQ_GROUP(1, 6)
    NQ_GROUP(2, 7)
    NQ_GROUP(3, 5)
  }
  // Of a held unit that had more tiles than this one.
  if constexpr (kFirst && kGroups * kBlocks < 2) NQ_STORE(1);
  if constexpr (kFirst && kGroups * kBlocks < 3) NQ_STORE(2);
  if constexpr (kFirst && kGroups * kBlocks < 4) NQ_STORE(3);
}

template <int kGroups, int kBlocks>
void multiply_unit(const GemmRows& shape, const UnitRows& rows, StepCodes codes, const int32_t* bias,
                   const HeldSums& held, Aside* aside) {
  settle_memory();
  multiply_step<kGroups, kBlocks, true>(rows, rows.offsets[0], codes.next(), bias, held);
  aside->step();
  uint32_t at = kStepDepth;
  for (uint32_t k = 0; k < shape.num_pieces; ++k, at = 0) {
    for (; at < shape.piece_depth; at += kStepDepth) {
      multiply_step<kGroups, kBlocks, false>(rows, rows.offsets[k] + at, codes.next(), bias, held);
      aside->step();
    }
  }
}

inline void store_held(const HeldSums& held) {
  NQ_STORE(0);
  NQ_STORE(1);
  NQ_STORE(2);
  NQ_STORE(3);
}

#undef NQ_STORE
#undef NQ_START
#undef NQ_BLOCK
#undef NQ_GROUP

using MultiplyUnitFn = decltype(&multiply_unit<1, 1>);

// Null for more than 4 tiles.
inline MultiplyUnitFn find_unit(int groups, int blocks) {
  constexpr MultiplyUnitFn kUnits[kAccumulators][kTileBlocks] = {
      {multiply_unit<1, 1>, multiply_unit<1, 2>, multiply_unit<1, 3>, multiply_unit<1, 4>},
      {multiply_unit<2, 1>, multiply_unit<2, 2>},
      {multiply_unit<3, 1>},
      {multiply_unit<4, 1>}};
  return kUnits[groups - 1][blocks - 1];
}

}  // namespace
}  // namespace nq
