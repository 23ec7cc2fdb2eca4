// Depthwise kernels: int8 pixels times a packed weight of as many channels, requantized to int8 or scaled to float.
// They know neither files nor TFLite. As with gemm.h, ISA "scalar" is the specification and depthwise_kernels.h lists
// them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "kernels/requantize/requantization.h"
#include "kernels/unpack/packed_weight.h"
#include "status.h"

namespace nq {

// Pixels of the output whose taps all move on together: tap t of the i-th one reads the pixel whose channel 0 is at
// taps[t] + i * step.
struct TapRun {
  const int8_t* const* taps;
  int num_pixels;
  bool goes_on = false;  // its first pixel is next to the last one of the run before, in the same row of the output
};

// Pixels that follow each other in the output.
struct DepthwisePixels {
  const TapRun* runs;
  int num_runs;
  size_t step;
  // Within a run of several pixels, taps are in rows of `columns` that follow each other in the input at `column_step`;
  // 0 if they do not.
  uint32_t columns = 0;
  size_t column_step = 0;
};

// What a kernel multiplies at a time: some pixels of up to 64 channels.
struct DepthwiseTile {
  const int8_t* codes;  // `depth` blocks of 64 channels
  uint32_t depth;
  DepthwisePixels pixels;
  uint32_t first_channel, num_channels;  // num_channels is 1 to 64
  const int32_t* bias;                   // of the tile's first channel, as what finishes its sums
  uint8_t* scratch;                      // 64-aligned room for 64 weights of 16 bits for each tap up to a multiple of 4
  int8_t least = -128;                   // no code is less
};

struct DepthwiseKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  int32_t sum_offset = 0;         // what the kernel adds to each activation

  UnpackFn unpack = nullptr;
  void (*multiply)(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out,
                   size_t out_stride) = nullptr;
  void (*multiply_float)(const DepthwiseTile& tile, const Dequantization& dequantization, float* out,
                         size_t out_stride) = nullptr;
};

// Channels first_channel (a multiple of 64) to first_channel + num_channels (a multiple of 64, or the rest) of some
// pixels; no byte of the input outside those channels is touched.
struct DepthwiseTask {
  const PackedWeight& weight;
  DepthwisePixels pixels;
  uint32_t first_channel, num_channels;
  const int32_t* bias;  // has -(zero_point + sum_offset) * sum(w) in it, and is padded to a multiple of 64 channels
  uint8_t* scratch;     // one thread's: depthwise_scratch_bytes(depth), 64-aligned
};

size_t depthwise_scratch_bytes(uint32_t depth);

// out[p * out_stride + c]
void run_depthwise(const DepthwiseKernel& kernel, const DepthwiseTask& task, const Requantization& requantization,
                   int8_t* out, size_t out_stride);
void run_depthwise(const DepthwiseKernel& kernel, const DepthwiseTask& task, const Dequantization& dequantization,
                   float* out, size_t out_stride);

}  // namespace nq
