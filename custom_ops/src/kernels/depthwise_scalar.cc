// The specification of the depthwise kernels, one product at a time.
#include "kernels/cpu.h"
#include "kernels/depthwise.h"
#include "kernels/requantize_scalar.h"

namespace nq {

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_scalar;

namespace {

int32_t multiply_channel(const DepthwiseTile& tile, int pixel, uint32_t channel) {
  const int8_t* const* taps = tile.taps + size_t{tile.depth} * pixel;
  auto sum = static_cast<uint32_t>(tile.bias[channel]);  // unsigned: it may wrap around
  for (uint32_t t = 0; t < tile.depth; ++t) {
    sum += static_cast<uint32_t>(taps[t][tile.first_channel + channel] * tile.codes[t * kLineBytes + channel]);
  }
  return static_cast<int32_t>(sum);
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  for (int p = 0; p < tile.num_pixels; ++p) {
    for (uint32_t c = 0; c < tile.num_channels; ++c) {
      out[p * out_stride + c] = requantize_scalar(multiply_channel(tile, p, c), requantization, c);
    }
  }
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  for (int p = 0; p < tile.num_pixels; ++p) {
    for (uint32_t c = 0; c < tile.num_channels; ++c) {
      out[p * out_stride + c] =
          dequantize_scalar(multiply_channel(tile, p, c), dequantization, static_cast<size_t>(p), c);
    }
  }
}

}  // namespace

const DepthwiseKernel depthwise_scalar = {"scalar", always, 0, unpack_reference, multiply, multiply_float};

}  // namespace nq
