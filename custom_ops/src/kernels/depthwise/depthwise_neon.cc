// Two taps at a time, 16 channels. The sum of two products fits in 16 bits but where a weight is -128: there the second
// tap's activations are inverted and their products subtracted, for a - ~b * w is a + b * w + w, which always fits, and
// the weights of every second tap are taken from the bias instead.
#if defined(__ARM_NEON)
#include "kernels/depthwise/depthwise_neon.h"

#include "kernels/depthwise/depthwise_pixels.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_neon;

namespace {

constexpr int kPixels = sizeof(void*) == 8 ? 4 : 2;  // of a run, which share weights: as many as the registers hold

// 64 channels: the tile's, and zeros.
void correct_bias(const DepthwiseTile& tile, int32_t* corrected) {
  std::memcpy(corrected, tile.bias, kDepthwiseChannels * sizeof(int32_t));
  for (uint32_t t = 1; t < tile.depth; t += 2) {
    for (uint32_t c = 0; c < kDepthwiseChannels; ++c) corrected[c] -= tile.codes[t * kLineBytes + c];
  }
}

[[gnu::always_inline]] inline void add_products(int16x8_t products, EightSums* sums) {
  sums->first = vaddw_s16(sums->first, vget_low_s16(products));
#if defined(__aarch64__)
  sums->second = vaddw_high_s16(sums->second, products);
#else
  sums->second = vaddw_s16(sums->second, vget_high_s16(products));
#endif
  asm volatile("" : "+w"(sums->first), "+w"(sums->second));  // or compilers would put products before the sums
}

template <bool kHasLeast>
[[gnu::always_inline]] inline void add_two(int8x16_t first, int8x16_t of_first, int8x16_t second, int8x16_t of_second,
                                           SixteenSums* sums) {
  int16x8_t low = vmull_s8(vget_low_s8(first), vget_low_s8(of_first));
  int16x8_t high = vmull_s8(vget_high_s8(first), vget_high_s8(of_first));
  if constexpr (kHasLeast) {
    second = vmvnq_s8(second);
    low = vmlsl_s8(low, vget_low_s8(second), vget_low_s8(of_second));
    high = vmlsl_s8(high, vget_high_s8(second), vget_high_s8(of_second));
  } else {
    low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(of_second));
    high = vmlal_s8(high, vget_high_s8(second), vget_high_s8(of_second));
  }
  add_products(low, &sums->low);
  add_products(high, &sums->high);
}

[[gnu::always_inline]] inline void add_one(int8x16_t tap, int8x16_t weights, SixteenSums* sums) {
  add_products(vmull_s8(vget_low_s8(tap), vget_low_s8(weights)), &sums->low);
  add_products(vmull_s8(vget_high_s8(tap), vget_high_s8(weights)), &sums->high);
}

// 16 channels of some pixels that follow each other, the first of which reads `offset` behind each tap.
template <bool kHasLeast, int kNumPixels, typename Load>
[[gnu::always_inline]] inline void add_taps(const DepthwiseTile& tile, const int8_t* const* taps, size_t offset,
                                            const int8_t* codes, const Load& load, SixteenSums (&sums)[kNumPixels]) {
  const size_t step = tile.pixels.step;
  uint32_t t = 0;
  for (; t + 2 <= tile.depth; t += 2, codes += 2 * kLineBytes) {
    const int8x16_t of_first = vld1q_s8(codes), of_second = vld1q_s8(codes + kLineBytes);
    const int8_t *first = taps[t] + offset, *second = taps[t + 1] + offset;
#pragma GCC unroll 4
    for (int i = 0; i < kNumPixels; ++i, first += step, second += step) {
      add_two<kHasLeast>(load(first), of_first, load(second), of_second, &sums[i]);
    }
  }
  if (t == tile.depth) return;
  const int8x16_t of_last = vld1q_s8(codes);
  const int8_t* last = taps[t] + offset;
#pragma GCC unroll 4
  for (int i = 0; i < kNumPixels; ++i, last += step) add_one(load(last), of_last, &sums[i]);
}

// A tile of fewer than 16 channels.
template <bool kHasLeast, typename Store>
void multiply_few(const DepthwiseTile& tile, const int32_t* bias, const Store& store) {
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    SixteenSums sums[] = {load_sixteen(bias)};
    add_taps<kHasLeast>(tile, taps, offset + tile.first_channel, tile.codes, LoadFirst{tile.num_channels}, sums);
    store.first(sums[0], pixel, tile.num_channels);
  });
}

// 16 channels from c on, of all pixels.
template <bool kHasLeast, typename Store>
void multiply_any(const DepthwiseTile& all, uint32_t c, const int32_t* bias, const Store& to) {
  const DepthwiseTile tile = all;  // which no store to the output changes
  const Store store = to;
  size_t pixel = 0;
  const auto multiply = [&](auto& sums, const TapRun& run, size_t offset) __attribute__((always_inline)) {
    for (SixteenSums& each : sums) each = load_sixteen(bias + c);
    add_taps<kHasLeast>(tile, run.taps, offset, tile.codes + c, LoadAll(), sums);
    store(sums, pixel, c);
    pixel += sizeof(sums) / sizeof(SixteenSums);
  };
  for (int r = 0; r < tile.pixels.num_runs; ++r) {
    const TapRun& run = tile.pixels.runs[r];
    size_t offset = tile.first_channel + c;
    int left = run.num_pixels;
    SixteenSums several[kPixels], one[1];
    for (; left >= kPixels; left -= kPixels, offset += kPixels * tile.pixels.step) multiply(several, run, offset);
    for (; left > 0; --left, offset += tile.pixels.step) multiply(one, run, offset);
  }
}

#if defined(__aarch64__)

constexpr int kWindow = 3;

// The six pixels of a row of the input that four windows read.
struct SixPixels {
  [[gnu::always_inline]] SixPixels(const int8_t* row, size_t step) {
#pragma GCC unroll 6
    for (size_t i = 0; i < 6; ++i) of[i] = vld1q_s8(row + i * step);
  }
  int8x16_t of[6];
};

// Four 3 x 3 windows side by side, without a weight of -128: two rows' taps in pairs, then two of the last row's.
[[gnu::always_inline]] inline void add_windows(const int8_t* const (&rows)[kWindow], size_t step, const int8_t* codes,
                                               SixteenSums (&sums)[kPixels]) {
  {
    const SixPixels top(rows[0], step), middle(rows[1], step);
#pragma GCC unroll 3
    for (int x = 0; x < kWindow; ++x) {
      const int8x16_t of_top = vld1q_s8(codes + x * kLineBytes);
      const int8x16_t of_middle = vld1q_s8(codes + (x + kWindow) * kLineBytes);
#pragma GCC unroll 4
      for (int i = 0; i < kPixels; ++i) add_two<false>(top.of[i + x], of_top, middle.of[i + x], of_middle, &sums[i]);
    }
  }
  const SixPixels bottom(rows[2], step);
  codes += 2 * kWindow * kLineBytes;
  const int8x16_t of_first = vld1q_s8(codes), of_second = vld1q_s8(codes + kLineBytes);
  const int8x16_t of_third = vld1q_s8(codes + 2 * kLineBytes);
#pragma GCC unroll 4
  for (int i = 0; i < kPixels; ++i) {
    add_two<false>(bottom.of[i], of_first, bottom.of[i + 1], of_second, &sums[i]);
    add_one(bottom.of[i + 2], of_third, &sums[i]);
  }
}

// 16 channels from c on, of all pixels of 3 x 3 windows a pixel apart.
template <typename Store>
void multiply_windows(const DepthwiseTile& all, uint32_t c, const Store& to) {
  const DepthwiseTile tile = all;
  const Store store = to;
  const size_t step = tile.pixels.step;
  size_t pixel = 0;
  for (int r = 0; r < tile.pixels.num_runs; ++r) {
    const TapRun& run = tile.pixels.runs[r];
    size_t offset = tile.first_channel + c;
    int left = run.num_pixels;
    const int8_t* rows[kWindow] = {run.taps[0] + offset, run.taps[kWindow] + offset, run.taps[2 * kWindow] + offset};
    for (; left >= kPixels; left -= kPixels, pixel += kPixels, offset += kPixels * step) {
      SixteenSums sums[kPixels];
#pragma GCC unroll 4
      for (SixteenSums& each : sums) each = load_sixteen(tile.bias + c);
      add_windows(rows, step, tile.codes + c, sums);
      store(sums, pixel, c);
      for (const int8_t*& row : rows) row += kPixels * step;
    }
    for (; left > 0; --left, ++pixel, offset += step) {
      SixteenSums one[] = {load_sixteen(tile.bias + c)};
      add_taps<false>(tile, run.taps, offset, tile.codes + c, LoadAll(), one);
      store(one, pixel, c);
    }
  }
}

bool has_windows(const DepthwiseTile& tile) {
  const DepthwisePixels& pixels = tile.pixels;
  return pixels.columns == kWindow && tile.depth == kWindow * kWindow && pixels.step == pixels.column_step;
}

#endif

template <typename Store>
void multiply_tile(const DepthwiseTile& tile, const Store& store) {
  const bool has_least = tile.least == -128, few = tile.num_channels < kChannels;
  const int32_t* bias = tile.bias;
  if (has_least) {
    correct_bias(tile, reinterpret_cast<int32_t*>(tile.scratch));
    bias = reinterpret_cast<int32_t*>(tile.scratch);
  }
  if (few) return has_least ? multiply_few<true>(tile, bias, store) : multiply_few<false>(tile, bias, store);
#if defined(__aarch64__)
  if (!has_least && has_windows(tile)) {
    return for_each_sixteen(tile, [&](uint32_t c) { multiply_windows(tile, c, store); });
  }
#endif
  const auto multiply_sixteen = has_least ? multiply_any<true, Store> : multiply_any<false, Store>;
  for_each_sixteen(tile, [&](uint32_t c) { multiply_sixteen(tile, c, bias, store); });
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  multiply_to_codes(tile, requantization, out, out_stride,
                    [](const DepthwiseTile& of, const auto& store) { multiply_tile(of, store); });
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  multiply_to_floats(tile, dequantization, out, out_stride,
                     [](const DepthwiseTile& of, const auto& store) { multiply_tile(of, store); });
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
