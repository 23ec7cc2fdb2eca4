// The walk over the channels that every depthwise kernel shares: it unpacks the taps of 64 channels once and runs all
// pixels over them. A kernel file gives the arithmetic alone, so that nothing else is compiled with its ISA flags.
#pragma once

#include "kernels/depthwise.h"

namespace nq {

struct DepthwiseTile {
  const int8_t* codes;  // `depth` blocks of 64 channels
  uint32_t depth;
  const int8_t* const* taps;
  int num_pixels;
  uint32_t first_channel, num_channels;  // num_channels is 1 to 64
  const int32_t* bias;                   // of the tile's first channel, as the multipliers below
};

struct TapKernel {
  UnpackFn unpack;
  // `scratch` has 64-aligned room for 64 weights of 16 bits for each tap up to a multiple of 4.
  void (*multiply)(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint8_t* scratch);
};

void run_taps(const TapKernel& kernel, const PackedWeight& weight, const int8_t* const* taps, int num_pixels,
              uint32_t first_channel, uint32_t num_channels, const int32_t* bias, const Requantization& requantization,
              int8_t* out, size_t out_stride, uint8_t* scratch);

}  // namespace nq
