// AMX's tiles in software, as Intel's manual describes the instructions: what would fault there is a failed check here,
// and the instruction then does nothing. State is a thread's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/gemm/gemm.h"

namespace nq_test {

void load_tile_configuration(const void* configuration);
void release_tiles();
void load_tile(int tile, const void* from, size_t stride);
void store_tile(int tile, void* to, size_t stride);
void multiply_int8_tiles(int sums, int rows, int codes);

// What all threads have executed, tiles of codes that they have unpacked, of 64 of the depth and 16 channels, and lines
// of 64 bytes that tile loads have not found in the L1 cache, where it is watched.
struct TileCounts {
  int64_t loads, products, stores, unpacked, far_lines;
};
TileCounts tile_counts();
void count_unpacked(const int8_t* codes, size_t num_superblocks);

// From here on this thread has an L1 cache of 48 KB, empty at first, through which tiles and unpacked codes go; or
// none.
void watch_cache(bool watched);

// Every call leaves the tiles configured and filled in another way, as other users of a thread might.
void spoil_tiles();

void check_tiles_are_released();

// The AMX kernel on these tiles, which are spoilt before each of its tasks; none where the compiler knows no AMX.
std::vector<const nq::GemmKernel*> emulated_kernels();

}  // namespace nq_test
