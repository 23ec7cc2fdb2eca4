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

// What this thread has executed.
struct TileCounts {
  int64_t loads, products, stores;
};
TileCounts tile_counts();

// Every call leaves the tiles configured and filled in another way, as other users of a thread might.
void spoil_tiles();

void check_tiles_are_released();

// The AMX kernel on these tiles, which are spoilt before each of its tasks; none where the compiler knows no AMX.
std::vector<const nq::GemmKernel*> emulated_kernels();

}  // namespace nq_test
