// Two taps at a time, 16 channels: the second one's activations are inverted and their products subtracted, for
// a - ~b * w is a + b * w + w, which fits in 16 bits whatever the codes are, as the sum of two products does not. The
// weights of every second tap are taken from the bias instead.
#if defined(__ARM_NEON)
#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_neon;

namespace {

constexpr uint32_t kChannels = 16;  // multiplied together
constexpr int kPixels = 4;          // of a run, which share taps and weights

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

// 16 channels of some pixels, of which offsets[i] from a tap is the i-th one's first channel.
template <int kNumPixels, typename Load>
[[gnu::always_inline]] inline void multiply_channels(const DepthwiseTile& tile, const int8_t* const* taps,
                                                     const size_t (&offsets)[kNumPixels], uint32_t c,
                                                     const int32_t* bias, const Load& load_tap,
                                                     SixteenSums (&sums)[kNumPixels]) {
  const int8_t* codes = tile.codes + c;
#pragma GCC unroll 4
  for (int i = 0; i < kNumPixels; ++i) sums[i] = {load_sums(bias + c), load_sums(bias + c + 8)};
  uint32_t t = 0;
  for (; t + 2 <= tile.depth; t += 2, codes += 2 * kLineBytes) {
    const int8x16_t of_first = vld1q_s8(codes), of_second = vld1q_s8(codes + kLineBytes);
    const int8_t *first_tap = taps[t], *second_tap = taps[t + 1];
#pragma GCC unroll 4
    for (int i = 0; i < kNumPixels; ++i) {
      const int8x16_t first = load_tap(first_tap + offsets[i]), second = vmvnq_s8(load_tap(second_tap + offsets[i]));
      const int16x8_t low = vmull_s8(vget_low_s8(first), vget_low_s8(of_first));
      const int16x8_t high = vmull_s8(vget_high_s8(first), vget_high_s8(of_first));
      sums[i].low = add_products(sums[i].low, vmlsl_s8(low, vget_low_s8(second), vget_low_s8(of_second)));
      sums[i].high = add_products(sums[i].high, vmlsl_s8(high, vget_high_s8(second), vget_high_s8(of_second)));
    }
  }
  if (t == tile.depth) return;
  const int8x16_t of_last = vld1q_s8(codes);
#pragma GCC unroll 4
  for (int i = 0; i < kNumPixels; ++i) {
    const int8x16_t last = load_tap(taps[t] + offsets[i]);
    sums[i].low = add_products(sums[i].low, vmull_s8(vget_low_s8(last), vget_low_s8(of_last)));
    sums[i].high = add_products(sums[i].high, vmull_s8(vget_high_s8(last), vget_high_s8(of_last)));
  }
}

// `finish` is as for multiply_all; the pixels follow `pixel`.
template <int kNumPixels, typename Finish>
[[gnu::always_inline]] inline void multiply_pixels(const DepthwiseTile& tile, const int8_t* const* taps, size_t offset,
                                                   const int32_t* bias, size_t pixel, const Finish& finish) {
  size_t offsets[kNumPixels];
  for (size_t i = 0; i < kNumPixels; ++i) offsets[i] = offset + tile.first_channel + i * tile.pixels.step;
  SixteenSums sums[kNumPixels];
  const auto finish_channels = [&](uint32_t c, uint32_t count) {
    const auto low = finish(c);
#pragma GCC unroll 4
    for (size_t i = 0; i < kNumPixels; ++i) low(sums[i].low, pixel + i, count);
    if (count <= 8) return;
    const auto high = finish(c + 8);
#pragma GCC unroll 4
    for (size_t i = 0; i < kNumPixels; ++i) high(sums[i].high, pixel + i, count - 8);
  };
  uint32_t c = 0;
  for (; c + kChannels <= tile.num_channels; c += kChannels) {
    const auto load_all = [](const int8_t* bytes) { return vld1q_s8(bytes); };  // a macro in Clang
    multiply_channels(tile, taps, offsets, c, bias, load_all, sums);
    finish_channels(c, kChannels);
    for (size_t& each : offsets) each += kChannels;
  }
  if (const uint32_t count = tile.num_channels - c; count > 0) {
    multiply_channels(
        tile, taps, offsets, c, bias, [=](const int8_t* bytes) { return load_first(bytes, count); }, sums);
    finish_channels(c, count);
  }
}

// Calls finish(first channel), and what that returns, for the 8 channels from there: (sums, pixel, how many of them to
// store). For all pixels.
template <typename Finish>
[[gnu::always_inline]] inline void multiply_all(const DepthwiseTile& tile, const Finish& finish) {
  auto* bias = reinterpret_cast<int32_t*>(tile.scratch);
  correct_bias(tile, bias);
  size_t pixel = 0;
  for (int r = 0; r < tile.pixels.num_runs; ++r) {
    const TapRun& run = tile.pixels.runs[r];
    size_t offset = 0;
    int left = run.num_pixels;
    for (; left >= kPixels; left -= kPixels, pixel += kPixels, offset += kPixels * tile.pixels.step) {
      multiply_pixels<kPixels>(tile, run.taps, offset, bias, pixel, finish);
    }
    for (; left > 0; --left, ++pixel, offset += tile.pixels.step) {
      multiply_pixels<1>(tile, run.taps, offset, bias, pixel, finish);
    }
  }
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  const Requantizer requantizer = make_requantizer(requantization);
  multiply_all(tile, [&](uint32_t c) {
    const EightMultipliers multipliers = load_multipliers(requantization.multiplier + c);
    return [=, &requantizer](const EightSums& sums, size_t pixel, uint32_t count) {
      store_channels(requantizer, sums, multipliers, count, out + pixel * out_stride + c);
    };
  });
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  multiply_all(tile, [&](uint32_t c) {
    return [=, &dequantization](const EightSums& sums, size_t pixel, uint32_t count) {
      Dequantizer(dequantization.from_row(pixel), c).store(sums, count, out + pixel * out_stride + c);
    };
  });
}

}  // namespace

constexpr DepthwiseKernel depthwise_neon = [] {
  DepthwiseKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.unpack = unpack_neon;
  kernel.multiply = multiply;
  kernel.multiply_float = multiply_float;
  return kernel;
}();

}  // namespace nq
#endif
