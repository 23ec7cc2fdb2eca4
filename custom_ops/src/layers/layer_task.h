// What a convolution computes, whatever its activations mean.
#pragma once

#include "kernels/unpack/packed_weight.h"
#include "session/nested_weight.h"

namespace nq {

struct LayerTask {
  PackedWeight weight;
  const int32_t* bias;  // as kernels take it, with their sum_offset in it
  const int8_t* input;
  int8_t zero_point;   // of the input: what lies beyond its edges
  int64_t num_pixels;  // of the output, from the first one
};

PackedWeight weight_at(const NestedWeight& weight, int level);

// Kernels read parameters of channels up to a multiple of 64.
size_t padded_channels(const OptionBlock& block);

}  // namespace nq
