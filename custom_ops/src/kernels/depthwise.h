// Depthwise kernels: int8 pixels times a packed weight of as many channels, requantized to int8. They know neither
// files nor TFLite. As with gemm.h, ISA "scalar" is the specification and depthwise_kernels.h lists them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "kernels/packed_weight.h"
#include "kernels/requantization.h"
#include "status.h"

namespace nq {

struct DepthwiseKernel {
  const char* isa;
  bool (*supported)();  // by the CPU that runs this
  int32_t sum_offset;   // what the kernel adds to each activation

  // Channels first_channel (a multiple of 64) to first_channel + num_channels (a multiple of 64, or the rest) of
  // num_pixels pixels: out[p * out_stride + c]. taps[p * depth + t] is channel 0 of the pixel that tap t of output p
  // reads, of which no byte outside those channels is touched. `bias` has -(input_zero_point + sum_offset) * sum(w) in
  // it and is padded to a multiple of 64 channels. `scratch` is one thread's: depthwise_scratch_bytes(depth),
  // 64-aligned.
  void (*run)(const PackedWeight& weight, const int8_t* const* taps, int num_pixels, uint32_t first_channel,
              uint32_t num_channels, const int32_t* bias, const Requantization& requantization, int8_t* out,
              size_t out_stride, uint8_t* scratch);
};

size_t depthwise_scratch_bytes(uint32_t depth);

KernelList<DepthwiseKernel> depthwise_kernels();

// The fastest supported kernel at or below the ISA named `isa`, or of all if that is null or empty.
Status select_depthwise_kernel(const char* isa, const DepthwiseKernel** kernel);

// The kernel that the environment variable NQ_ISA asks for.
Status select_depthwise_kernel(const DepthwiseKernel** kernel);

}  // namespace nq
