// Matrix kernels: prepared int8 rows times a packed weight, requantized to int8. They know neither files nor TFLite.
//
// ISA "scalar" is the specification; every other kernel gives the same bytes. gemm_kernels.h lists them all, and drives
// declarations, dispatch, tests and the benchmark.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "kernels/packed_weight.h"
#include "kernels/requantization.h"
#include "status.h"

namespace nq {

struct GemmKernel {
  const char* isa;
  bool (*supported)();  // by the CPU that runs this
  int rows;             // rows of a tile; any number of rows may be passed, multiples of this run best

  // A prepared row: its bytes, a multiple of 64; `count` activations put at position `at`; whatever lies between the
  // depth and its end made harmless, for a part-bit weight's padding is not zero. Rows need no alignment.
  size_t (*row_bytes)(uint32_t depth);
  void (*prepare)(const int8_t* in, uint32_t count, uint32_t at, uint8_t* row);
  void (*finish_row)(uint32_t depth, uint8_t* row);
  int32_t sum_offset;  // what prepare adds to each activation

  // Channels 16 * first_block to 16 * (first_block + num_blocks) of the output of `num_rows` rows, those beyond the
  // weight's last one left out: out[r * out_stride + c]. `bias` has -(input_zero_point + sum_offset) * sum(w) in it and
  // is padded to a multiple of 64 channels. `scratch` is one thread's: gemm_scratch_bytes(depth), 64-aligned.
  void (*run)(const PackedWeight& weight, const uint8_t* rows, size_t row_stride, int num_rows, uint32_t first_block,
              uint32_t num_blocks, const int32_t* bias, const Requantization& requantization, int8_t* out,
              size_t out_stride, uint8_t* scratch);
};

size_t gemm_scratch_bytes(uint32_t depth);

KernelList<GemmKernel> gemm_kernels();

// The fastest supported kernel at or below the ISA named `isa`, or of all if that is null or empty.
Status select_gemm_kernel(const char* isa, const GemmKernel** kernel);

// The kernel that the environment variable NQ_ISA asks for.
Status select_gemm_kernel(const GemmKernel** kernel);

}  // namespace nq
