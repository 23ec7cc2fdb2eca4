// The specification of the depthwise kernels, one product at a time.
#include "kernels/cpu.h"
#include "kernels/depthwise_taps.h"
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

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint8_t*) {
  for (int p = 0; p < tile.num_pixels; ++p) {
    for (uint32_t c = 0; c < tile.num_channels; ++c) {
      out[p * out_stride + c] = requantize_scalar(multiply_channel(tile, p, c), requantization, c);
    }
  }
}

void run(const PackedWeight& weight, const int8_t* const* taps, int num_pixels, uint32_t first_channel,
         uint32_t num_channels, const int32_t* bias, const Requantization& requantization, int8_t* out,
         size_t out_stride, uint8_t* scratch) {
  run_taps({unpack_reference, multiply}, weight, taps, num_pixels, first_channel, num_channels, bias, requantization,
           out, out_stride, scratch);
}

}  // namespace

const DepthwiseKernel depthwise_scalar = {"scalar", always, 0, run};

}  // namespace nq
