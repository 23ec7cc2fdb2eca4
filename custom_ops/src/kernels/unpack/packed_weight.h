// One weight at one precision, ready to be computed with; built once for each weight and level.
#pragma once

#include <cstdint>

#include "format/option_block.h"
#include "kernels/unpack/unpack.h"

namespace nq {

struct PackedWeight {
  OptionBlock block;
  const uint8_t* levels[kMaxLevels] = {};  // each level's buffer, up to `level`
  int level = 0;
  int8_t least = -128;  // no code is less
};

// The levels in use from a superblock on.
PackedLevels packed_levels(const PackedWeight& weight, uint64_t superblock);

}  // namespace nq
