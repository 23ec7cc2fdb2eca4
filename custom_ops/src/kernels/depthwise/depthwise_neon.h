// What the depthwise kernels with NEON share: loads of 16 channels, and from their sums to pixels of output. Textual
// for files with NEON flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {
namespace {

constexpr uint32_t kChannels = 16;  // multiplied together

struct SixteenSums {
  EightSums low, high;
};

[[gnu::always_inline]] inline SixteenSums load_sixteen(const int32_t* sums) {
  return {load_sums(sums), load_sums(sums + 8)};
}

struct LoadAll {
  [[gnu::always_inline]] int8x16_t operator()(const int8_t* bytes) const { return vld1q_s8(bytes); }
};

// Bytes behind the first `count` may lie outside the tensor.
struct LoadFirst {
  uint32_t count;

  int8x16_t operator()(const int8_t* bytes) const {
    int8_t all[kChannels] = {};
    std::memcpy(all, bytes, count);
    return vld1q_s8(all);
  }
};

// Calls function(first channel) for every 16 channels of a tile; the last ones overlap those before them. For tiles of
// 16 channels at least.
template <typename Function>
[[gnu::always_inline]] inline void for_each_sixteen(const DepthwiseTile& tile, const Function& function) {
  const uint32_t last = tile.num_channels - kChannels;
  for (uint32_t c = 0; c < last; c += kChannels) function(c);
  function(last);
}

// Both finish 16 channels from c on of pixels that follow each other, or the first channels of one.

template <bool kPlain>
struct StoreCodes {
  Requantizer requantizer;
  const float* multiplier;
  int8_t* out;
  size_t out_stride;

  [[gnu::always_inline]] int8x16_t codes(const SixteenSums& sums, uint32_t c) const {
    return codes_of<kPlain>(requantizer, sums.low, load_multipliers(multiplier + c), sums.high,
                            load_multipliers(multiplier + c + 8));
  }

  // Stores last, for what they could change would have to be loaded again.
  template <int kNumPixels>
  [[gnu::always_inline]] void operator()(const SixteenSums (&sums)[kNumPixels], size_t pixel, uint32_t c) const {
    int8x16_t all[kNumPixels];
#pragma GCC unroll 4
    for (int i = 0; i < kNumPixels; ++i) all[i] = codes(sums[i], c);
    int8_t* to = out + pixel * out_stride + c;
#pragma GCC unroll 4
    for (int i = 0; i < kNumPixels; ++i, to += out_stride) vst1q_s8(to, all[i]);
  }

  [[gnu::always_inline]] void eight(const EightSums& sums, size_t pixel, uint32_t c) const {
    vst1_s8(out + pixel * out_stride + c, codes_of<kPlain>(requantizer, sums, load_multipliers(multiplier + c)));
  }

  void first(const SixteenSums& sums, size_t pixel, uint32_t count) const {
    int8_t all[kChannels];
    vst1q_s8(all, codes(sums, 0));
    std::memcpy(out + pixel * out_stride, all, count);
  }
};

// The first `count` of 16 channels from c on, of one pixel.
[[gnu::noinline]] void store_first(const Dequantization& of_pixel, SixteenSums sums, uint32_t c, uint32_t count,
                                   float* out) {
  Dequantizer(of_pixel, c).store(sums.low, count, out);
  if (count > 8) Dequantizer(of_pixel, c + 8).store(sums.high, count - 8, out + 8);
}

#if defined(__aarch64__)

template <bool kClamps>
struct StoreFloats {
  AnyDequantizer<kClamps> dequantizer;
  float* out;
  size_t out_stride;

  template <int kNumPixels>
  [[gnu::always_inline]] void operator()(const SixteenSums (&sums)[kNumPixels], size_t pixel, uint32_t c) const {
#pragma GCC unroll 4
    for (int i = 0; i < kNumPixels; ++i) {
      eight(sums[i].low, pixel + static_cast<size_t>(i), c);
      eight(sums[i].high, pixel + static_cast<size_t>(i), c + 8);
    }
  }

  [[gnu::always_inline]] void eight(const EightSums& sums, size_t pixel, uint32_t c) const {
    const OfRow of_pixel = load_row(dequantizer.of.from_row(pixel));
    const float32x4_t first = dequantizer.value(sums.first, of_pixel, dequantizer.channels(c));
    const float32x4_t second = dequantizer.value(sums.second, of_pixel, dequantizer.channels(c + 4));
    float* to = out + pixel * out_stride + c;
    vst1q_f32(to, first);
    vst1q_f32(to + 4, second);
  }

  void first(const SixteenSums& sums, size_t pixel, uint32_t count) const {
    store_first(dequantizer.of.from_row(pixel), sums, 0, count, out + pixel * out_stride);
  }
};

// Calls multiply_tile(tile, store) with what finishes this tile's pixels.
template <typename MultiplyTile>
inline void multiply_to_floats(const DepthwiseTile& tile, const Dequantization& dequantization, float* out,
                               size_t out_stride, const MultiplyTile& multiply_tile) {
  if (clamps(dequantization)) {
    multiply_tile(tile, StoreFloats<true>{AnyDequantizer<true>(dequantization), out, out_stride});
  } else {
    multiply_tile(tile, StoreFloats<false>{AnyDequantizer<false>(dequantization), out, out_stride});
  }
}

#else

struct StoreFloats {
  Dequantization dequantization;
  float* out;
  size_t out_stride;

  template <int kNumPixels>
  [[gnu::always_inline]] void operator()(const SixteenSums (&sums)[kNumPixels], size_t pixel, uint32_t c) const {
    for (int i = 0; i < kNumPixels; ++i, ++pixel) {
      store_first(dequantization.from_row(pixel), sums[i], c, kChannels, out + pixel * out_stride + c);
    }
  }

  void first(const SixteenSums& sums, size_t pixel, uint32_t count) const {
    store_first(dequantization.from_row(pixel), sums, 0, count, out + pixel * out_stride);
  }
};

template <typename MultiplyTile>
inline void multiply_to_floats(const DepthwiseTile& tile, const Dequantization& dequantization, float* out,
                               size_t out_stride, const MultiplyTile& multiply_tile) {
  multiply_tile(tile, StoreFloats{dequantization, out, out_stride});
}

#endif

// Calls multiply_tile(tile, store) with what finishes this tile's pixels.
template <typename MultiplyTile>
inline void multiply_to_codes(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out,
                              size_t out_stride, const MultiplyTile& multiply_tile) {
  const Requantizer requantizer = make_requantizer(requantization);
  if (is_plain(requantization)) {
    multiply_tile(tile, StoreCodes<true>{requantizer, requantization.multiplier, out, out_stride});
  } else {
    multiply_tile(tile, StoreCodes<false>{requantizer, requantization.multiplier, out, out_stride});
  }
}

}  // namespace
}  // namespace nq
