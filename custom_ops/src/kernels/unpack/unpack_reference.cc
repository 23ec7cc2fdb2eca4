// The specification of unpacking, one weight and one field at a time.
#include "kernels/unpack/unpack.h"

namespace nq {
namespace {

// The bits that a level stores for weight j of a block. Planes of 4, 2 and 1 bits: the binary digits of `bits`.
unsigned read_level(const uint8_t* superblock, int bits, int block, int j) {
  unsigned value = 0;
  const uint8_t* plane = superblock;
  for (const int width : {4, 2, 1}) {
    if ((bits & width) == 0) continue;
    const int line = block * width / 8, shift = block * width % 8;
    const unsigned field = plane[line * kLineBytes + j] >> shift & ((1u << width) - 1);
    value = value << width | field;
    plane += width * kLineBytes;
  }
  return value;
}

uint8_t read_code(const PackedLevels& levels, size_t superblock, int block, int j) {
  unsigned code = 0;
  int used = 0;
  for (int k = 0; k < levels.num_levels; ++k) {
    const int bits = levels.bits[k];
    const uint8_t* data = levels.data[k] + superblock * bits * kLineBytes;
    code = code << bits | read_level(data, bits, block, j);
    used += bits;
  }
  return static_cast<uint8_t>(code << (8 - used));
}

}  // namespace

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  for (size_t superblock = 0; superblock < num_superblocks; ++superblock) {
    for (int block = 0; block < kBlocksPerSuperblock; ++block) {
      for (int j = 0; j < kLineBytes; ++j) {
        const auto low = static_cast<uint8_t>(middle.block[block] >> (8 * (j % 8)));
        *codes++ = static_cast<int8_t>(read_code(levels, superblock, block, j) | low);
      }
    }
  }
}

}  // namespace nq
