// From the packed levels of one weight to the weight and bias that its reader reads, in TFLite's own order: matrix
// [channels, depth], depthwise [depth, channels].
#pragma once

#include <cstdint>
#include <vector>

#include "format/option_block.h"
#include "kernels/unpack/packed_weight.h"
#include "kernels/unpack/unpack.h"

namespace nq {

// The middle of the cell (FORMAT.md, 4.2) for a superblock of a weight; `superblock` matters for depthwise only.
CellMiddle cell_middle(const OptionBlock& block, int level, uint64_t superblock);

// `levels[k]` is level k's buffer, for k = 0 to `level`; its extent has been checked against level_bytes().
void write_weight(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                  int8_t* out);
void write_weight(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                  const float* scale, float* out);

// One channel of a weight of the matrix layout: `depth` values.
void write_row(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
               uint32_t channel, int8_t* out);
void write_row(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
               uint32_t channel, const float* scale, float* out);

// The level's own bias (FORMAT.md, 4.5); `level_data` is its buffer, not read where it has no deltas.
void write_bias(const OptionBlock& block, const uint8_t* level_data, int level, const int32_t* bias, int32_t* out);
void write_bias(const OptionBlock& block, const uint8_t* level_data, int level, const float* scale, const float* bias,
                float* out);

// What one pass over a weight's codes tells.
struct ChannelSums {
  std::vector<int32_t> sums;        // sum(w) of every channel over its depth, without padding
  std::vector<int32_t> magnitudes;  // sum(|w|); both have zeros for the channels up to a multiple of 64
  int8_t least = 0;                 // no code is less
};
ChannelSums channel_sums(const PackedWeight& weight);

// The other way, in memory: packs an INT8 weight in TFLite's order as two levels of 4 bits, for kernels that read
// packed weights. `block` says layout, channels and depth; `levels[k]` is 64 * 4 * num_superblocks(block) bytes.
void pack_weight(const OptionBlock& block, const int8_t* weight, uint8_t* const* levels);

}  // namespace nq
