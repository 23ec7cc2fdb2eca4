// The specification of the depthwise kernels, one product at a time.
#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/depthwise/depthwise_pixels.h"
#include "kernels/requantize/requantize_scalar.h"

namespace nq {

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_scalar;

namespace {

int32_t multiply_channel(const DepthwiseTile& tile, const int8_t* const* taps, size_t offset, uint32_t channel) {
  auto sum = static_cast<uint32_t>(tile.bias[channel]);  // unsigned: it may wrap around
  for (uint32_t t = 0; t < tile.depth; ++t) {
    const int activation = taps[t][offset + tile.first_channel + channel];
    sum += static_cast<uint32_t>(activation * tile.codes[t * kLineBytes + channel]);
  }
  return static_cast<int32_t>(sum);
}

// Calls finish(sum, pixel, channel) for every output.
template <typename Finish>
void multiply_pixels(const DepthwiseTile& tile, const Finish& finish) {
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    for (uint32_t c = 0; c < tile.num_channels; ++c) finish(multiply_channel(tile, taps, offset, c), pixel, c);
  });
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  multiply_pixels(tile, [&](int32_t sum, size_t pixel, uint32_t channel) {
    out[pixel * out_stride + channel] = requantize_scalar(sum, requantization, channel);
  });
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  multiply_pixels(tile, [&](int32_t sum, size_t pixel, uint32_t channel) {
    out[pixel * out_stride + channel] = dequantize_scalar(sum, dequantization, pixel, channel);
  });
}

}  // namespace

constexpr DepthwiseKernel depthwise_scalar = [] {
  DepthwiseKernel kernel;
  kernel.isa = "scalar";
  kernel.supported = always;
  kernel.unpack = unpack_reference;
  kernel.multiply = multiply;
  kernel.multiply_float = multiply_float;
  return kernel;
}();

}  // namespace nq
