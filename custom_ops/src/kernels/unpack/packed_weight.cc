#include "kernels/unpack/packed_weight.h"

namespace nq {

PackedLevels packed_levels(const PackedWeight& weight, uint64_t superblock) {
  PackedLevels packed;
  packed.num_levels = weight.level + 1;
  for (int k = 0; k <= weight.level; ++k) {
    packed.bits[k] = weight.block.levels[k].bits;
    packed.data[k] = weight.levels[k] + superblock * packed.bits[k] * kLineBytes;
  }
  return packed;
}

}  // namespace nq
