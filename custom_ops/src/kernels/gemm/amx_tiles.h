// AMX's registers: a tile is 16 rows of 64 bytes, and one instruction multiplies 16 rows of activations by 16 channels
// over 64 of the depth. Textual for files with AMX flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/gemm.h"

namespace nq {
namespace {

constexpr int kGroupRows = 16;
constexpr uint32_t kStepDepth = 64;
constexpr size_t kStepCodes = size_t{kStepDepth} * kMatrixChannels;
constexpr size_t kTileSums = size_t{kGroupRows} * kMatrixChannels;
constexpr int kAccumulators = 4;  // tiles 0 to 3; the others are for operands

inline uint32_t steps_of(uint32_t depth) { return (depth + kStepDepth - 1) / kStepDepth; }

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

// GCC 12's tile loads do not say that they read memory.
inline void settle_memory() { asm volatile("" ::: "memory"); }

}  // namespace
}  // namespace nq
