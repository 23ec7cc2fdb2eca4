// Two taps at a time, 16 channels: the second one's activations are inverted and their products subtracted, for
// a - ~b * w is a + b * w + w, which fits in 16 bits whatever the codes are, as the sum of two products does not. The
// weights of every second tap are taken from the bias instead.
#if defined(__ARM_NEON)
#include "kernels/cpu.h"
#include "kernels/depthwise.h"
#include "kernels/depthwise_pixels.h"
#include "kernels/requantize_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_neon;

namespace {

constexpr uint32_t kChannels = 16;  // multiplied together

struct SixteenSums {
  EightSums low, high;
};

// Bytes behind the first `count` may lie outside the tensor.
inline int8x16_t load_first(const int8_t* bytes, uint32_t count) {
  int8_t all[kChannels] = {};
  std::memcpy(all, bytes, count);
  return vld1q_s8(all);
}

// 64 channels: the tile's, and zeros.
void correct_bias(const DepthwiseTile& tile, int32_t* corrected) {
  std::memcpy(corrected, tile.bias, kDepthwiseChannels * sizeof(int32_t));
  for (uint32_t t = 1; t < tile.depth; t += 2) {
    for (uint32_t c = 0; c < kDepthwiseChannels; ++c) corrected[c] -= tile.codes[t * kLineBytes + c];
  }
}

inline EightSums add_products(const EightSums& sums, int16x8_t products) {
  return {vaddw_s16(sums.first, vget_low_s16(products)), vaddw_s16(sums.second, vget_high_s16(products))};
}

template <typename Load>
[[gnu::always_inline]] inline SixteenSums multiply_pixel(const int8_t* const* taps, uint32_t depth, size_t channel,
                                                         const int8_t* codes, const int32_t* bias,
                                                         const Load& load_tap) {
  SixteenSums sums = {load_sums(bias), load_sums(bias + 8)};
  uint32_t t = 0;
  for (; t + 2 <= depth; t += 2, codes += 2 * kLineBytes) {
    const int8x16_t first = load_tap(taps[t] + channel), second = vmvnq_s8(load_tap(taps[t + 1] + channel));
    const int8x16_t of_first = vld1q_s8(codes), of_second = vld1q_s8(codes + kLineBytes);
    const int16x8_t low = vmull_s8(vget_low_s8(first), vget_low_s8(of_first));
    const int16x8_t high = vmull_s8(vget_high_s8(first), vget_high_s8(of_first));
    sums.low = add_products(sums.low, vmlsl_s8(low, vget_low_s8(second), vget_low_s8(of_second)));
    sums.high = add_products(sums.high, vmlsl_s8(high, vget_high_s8(second), vget_high_s8(of_second)));
  }
  if (t < depth) {
    const int8x16_t last = load_tap(taps[t] + channel), of_last = vld1q_s8(codes);
    sums.low = add_products(sums.low, vmull_s8(vget_low_s8(last), vget_low_s8(of_last)));
    sums.high = add_products(sums.high, vmull_s8(vget_high_s8(last), vget_high_s8(of_last)));
  }
  return sums;
}

// Calls finish(sums of 8 channels, pixel, first channel, how many of them there are).
template <typename Finish>
[[gnu::always_inline]] inline void multiply_pixels(const DepthwiseTile& tile, const Finish& finish) {
  auto* bias = reinterpret_cast<int32_t*>(tile.scratch);
  correct_bias(tile, bias);
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    for (uint32_t c = 0; c < tile.num_channels; c += kChannels) {
      const uint32_t count = tile.num_channels - c;
      const size_t channel = offset + tile.first_channel + c;
      SixteenSums sums;
      if (count >= kChannels) {
        sums = multiply_pixel(taps, tile.depth, channel, tile.codes + c, bias + c, vld1q_s8);
      } else {
        sums = multiply_pixel(taps, tile.depth, channel, tile.codes + c, bias + c,
                              [count](const int8_t* bytes) { return load_first(bytes, count); });
      }
      finish(sums.low, pixel, c, count);
      if (count > 8) finish(sums.high, pixel, c + 8, count - 8);
    }
  });
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  const Requantizer requantizer = make_requantizer(requantization);
  multiply_pixels(tile, [&](const EightSums& sums, size_t pixel, uint32_t c, uint32_t count) {
    store_channels(requantizer, sums, requantization.multiplier + c, count, out + pixel * out_stride + c);
  });
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  multiply_pixels(tile, [&](const EightSums& sums, size_t pixel, uint32_t c, uint32_t count) {
    Dequantizer(dequantization.from_row(pixel), c).store(sums, count, out + pixel * out_stride + c);
  });
}

}  // namespace

const DepthwiseKernel depthwise_neon = {"neon", has_neon, 0, unpack_neon, multiply, multiply_float};

}  // namespace nq
#endif
