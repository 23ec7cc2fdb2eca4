// One weight at one precision, ready to be computed with; built once for each weight and level.
#pragma once

#include <cstdint>

#include "format/option_block.h"
#include "kernels/unpack.h"

namespace nq {

struct PackedWeight {
  OptionBlock block;
  const uint8_t* levels[kMaxLevels] = {};  // each level's buffer, up to `level`
  int level = 0;
};

// The levels in use from a superblock on.
PackedLevels packed_levels(const PackedWeight& weight, uint64_t superblock);

// sum(w) of every channel over its depth, without padding; the channels up to a multiple of 64 get 0.
void channel_sums(const PackedWeight& weight, int32_t* sums);

}  // namespace nq
