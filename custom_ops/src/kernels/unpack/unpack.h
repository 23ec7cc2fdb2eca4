// Unpack kernels: packed levels -> codes (FORMAT.md, section 4). The kernels know neither files nor TFLite.
//
// unpack_reference (ISA "scalar") is the specification; every other kernel gives the same bytes. unpack_kernels.h lists
// them all, and drives declarations, dispatch, tests and the benchmark.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "nq/format.h"

namespace nq {

// The first superblocks of the levels in use, level 0 first. No alignment is required.
struct PackedLevels {
  int num_levels = 0;
  int bits[kMaxLevels] = {};
  const uint8_t* data[kMaxLevels] = {};
};

// What fills the bits below those in use: eight bytes that repeat over each of a superblock's blocks. All zero at
// full-bit.
struct CellMiddle {
  uint64_t block[kBlocksPerSuperblock] = {};
};

// Writes num_superblocks * kSuperblockWeights codes in packed order: eight blocks of 64 a superblock.
using UnpackFn = void (*)(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

// Where four blocks of 16 channels are interleaved: from one block of codes to the next of the same channels.
inline constexpr size_t kInterleavedStride = 4 * kLineBytes;

struct UnpackKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  UnpackFn unpack = nullptr;
};

}  // namespace nq
