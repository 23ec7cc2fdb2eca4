// Four taps at a time: their bytes are interleaved, which leaves the channels of the four vectors of sums in another
// order ("mixed" below) that the final packs undo. The multiply takes an unsigned operand, the activation plus 128.
#if defined(__AVX512VNNI__)
#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/depthwise/depthwise_pixels.h"
#include "kernels/requantize/requantize_avx512.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_avx512vnni;

namespace {

constexpr uint32_t kGroup = 4;    // taps
constexpr uint32_t kVectors = 4;  // of 16 channels
constexpr uint32_t kLaneChannels = 16;

// Of 32 channels, two pixels that follow each other fill a vector.
constexpr uint32_t kPairChannels = kDepthwiseChannels / 2;

// Vector v holds, in its 128-bit lane l, channels 16 l + 4 v to 16 l + 4 v + 3. Of up to 32 channels, lanes 2 and 3
// are lanes 0 and 1 again.
template <typename Number>
void mix_channels(const Number* from, uint32_t num_channels, Number* to) {
  const uint32_t lanes = num_channels <= kPairChannels ? 2 : 4;
  for (uint32_t v = 0; v < kVectors; ++v) {
    for (uint32_t i = 0; i < kLaneChannels; ++i) {
      to[v * kLaneChannels + i] = from[i / 4 % lanes * kLaneChannels + v * 4 + i % 4];
    }
  }
}

struct Four {
  __m512i of[kVectors];
};

[[gnu::always_inline]] inline Four interleave(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab_low = _mm512_unpacklo_epi8(a, b), ab_high = _mm512_unpackhi_epi8(a, b);
  const __m512i cd_low = _mm512_unpacklo_epi8(c, d), cd_high = _mm512_unpackhi_epi8(c, d);
  return {{_mm512_unpacklo_epi16(ab_low, cd_low), _mm512_unpackhi_epi16(ab_low, cd_low),
           _mm512_unpacklo_epi16(ab_high, cd_high), _mm512_unpackhi_epi16(ab_high, cd_high)}};
}

// The taps that fill up the last group have weight 0.
void interleave_weights(const DepthwiseTile& tile, int8_t* weights) {
  for (uint32_t t = 0; t < tile.depth; t += kGroup) {
    __m512i taps[kGroup];
    for (uint32_t i = 0; i < kGroup; ++i) {
      taps[i] = t + i < tile.depth ? _mm512_loadu_si512(tile.codes + (t + i) * kLineBytes) : _mm512_setzero_si512();
    }
    const Four mixed = interleave(taps[0], taps[1], taps[2], taps[3]);
    for (uint32_t v = 0; v < kVectors; ++v, weights += kLineBytes) _mm512_storeu_si512(weights, mixed.of[v]);
  }
}

[[gnu::always_inline]] inline void add_group(__m512i a, __m512i b, __m512i c, __m512i d, const int8_t* weights,
                                             Four* sums) {
  const Four taps = interleave(a, b, c, d);
#pragma GCC unroll 4
  for (uint32_t v = 0; v < kVectors; ++v) {
    sums->of[v] = _mm512_dpbusd_epi32(sums->of[v], taps.of[v], _mm512_loadu_si512(weights + v * kLineBytes));
  }
}

[[gnu::always_inline]] inline Four multiply_pixel(const int8_t* const* taps, uint32_t depth, size_t channel,
                                                  __mmask64 mask, const int8_t* weights, const int32_t* bias) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const auto load = [&](uint32_t t) {
    return _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, taps[t] + channel), sign);
  };
  Four sums;
#pragma GCC unroll 4
  for (uint32_t v = 0; v < kVectors; ++v) sums.of[v] = _mm512_loadu_si512(bias + v * kLaneChannels);
  uint32_t t = 0;
  for (; t + kGroup <= depth; t += kGroup, weights += kGroup * kLineBytes) {
    add_group(load(t), load(t + 1), load(t + 2), load(t + 3), weights, &sums);
  }
  if (t < depth) {
    const uint32_t last = depth - 1;
    add_group(load(t), load(t + 1 < depth ? t + 1 : last), load(t + 2 < depth ? t + 2 : last), sign, weights, &sums);
  }
  return sums;
}

template <Clamp kClamp>
[[gnu::always_inline]] inline __m512i requantize_pixel(const Requantizer& requantizer, const Four& sums,
                                                       const float* multiplier) {
  __m512i scaled[kVectors];
#pragma GCC unroll 4
  for (uint32_t v = 0; v < kVectors; ++v) {
    scaled[v] = scale_sums<kClamp>(requantizer, sums.of[v], _mm512_loadu_ps(multiplier + v * kLaneChannels));
  }
  return pack_codes<kClamp>(requantizer, scaled[0], scaled[1], scaled[2], scaled[3]);
}

__mmask64 stored_channels(const DepthwiseTile& tile) {
  return ~uint64_t{0} >> (kDepthwiseChannels - tile.num_channels);
}

// What finishes the pixels of a tile, to int8.
template <Clamp kClamp>
struct StoreCodes {
  Requantizer requantizer;
  const float* multiplier;
  __mmask64 mask;
  int8_t* out;
  size_t out_stride;

  static constexpr bool kTakesPairs = true;
  // Of two pixels, where there is nothing between them.
  [[gnu::always_inline]] void pair(const Four& sums, size_t pixel) const {
    _mm512_storeu_si512(out + pixel * out_stride, requantize_pixel<kClamp>(requantizer, sums, multiplier));
  }

  [[gnu::always_inline]] void operator()(const Four& sums, size_t pixel) const {
    _mm512_mask_storeu_epi8(out + pixel * out_stride, mask, requantize_pixel<kClamp>(requantizer, sums, multiplier));
  }
};

struct Floats {
  __m512 of[kVectors];
};

// Back from the mixed order: vector v has channels 16 v to 16 v + 15.
inline Floats in_order(const Floats& mixed) {
  const __m512 low01 = _mm512_shuffle_f32x4(mixed.of[0], mixed.of[1], 0x44);
  const __m512 low23 = _mm512_shuffle_f32x4(mixed.of[2], mixed.of[3], 0x44);
  const __m512 high01 = _mm512_shuffle_f32x4(mixed.of[0], mixed.of[1], 0xEE);
  const __m512 high23 = _mm512_shuffle_f32x4(mixed.of[2], mixed.of[3], 0xEE);
  return {{_mm512_shuffle_f32x4(low01, low23, 0x88), _mm512_shuffle_f32x4(low01, low23, 0xDD),
           _mm512_shuffle_f32x4(high01, high23, 0x88), _mm512_shuffle_f32x4(high01, high23, 0xDD)}};
}

// What makes floats of sums, in the mixed order.
struct MixedDequantization {
  MixedDequantization(const Dequantization& dequantization, uint32_t num_channels) : plain(dequantization) {
    mix_channels(plain.weight_sum, num_channels, weight_sum);
    mix_channels(plain.scale, num_channels, scale);
    mix_channels(plain.bias, num_channels, bias);
    set_row(0);
  }

  void set_row(size_t row) {
    Dequantization of_row = plain.from_row(row);
    of_row.weight_sum = weight_sum;
    of_row.scale = scale;
    of_row.bias = bias;
    for (uint32_t v = 0; v < kVectors; ++v) vectors[v] = make_dequantizer(of_row, v * kLaneChannels);
  }

  const Dequantization& plain;
  alignas(64) int32_t weight_sum[kDepthwiseChannels];
  alignas(64) float scale[kDepthwiseChannels], bias[kDepthwiseChannels];
  Dequantizer vectors[kVectors];
};

// The same to floats.
struct StoreFloats {
  MixedDequantization* dequantization;
  __mmask64 mask;
  float* out;
  size_t out_stride;

  static constexpr bool kTakesPairs = false;

  [[gnu::always_inline]] void operator()(const Four& sums, size_t pixel) const {
    if (pixel > 0 && dequantization->plain.row_step > 0) dequantization->set_row(pixel);
    Floats floats;
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) floats.of[v] = dequantize_sums(dequantization->vectors[v], sums.of[v]);
    const Floats ordered = in_order(floats);
    float* to = out + pixel * out_stride;
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kVectors; ++v) {
      const auto lanes = static_cast<__mmask16>(mask >> (v * kLaneChannels));
      _mm512_mask_storeu_ps(to + v * kLaneChannels, lanes, ordered.of[v]);
    }
  }
};

constexpr int kWindow = 3;

// The weights of a 3 x 3 window, a column to a group.
struct Columns {
  __m512i of[kWindow][kVectors];
};

[[gnu::always_inline]] inline Four multiply_column(const Four& sums, const Four& column, const __m512i* weights) {
  Four next;
#pragma GCC unroll 4
  for (uint32_t v = 0; v < kVectors; ++v) next.of[v] = _mm512_dpbusd_epi32(sums.of[v], column.of[v], weights[v]);
  return next;
}

// A run of 3 x 3 windows: a column of the input is interleaved once for all windows that it is in.
template <int kStride, typename Store>
[[gnu::always_inline]] inline void multiply_run(const DepthwiseTile& tile, const TapRun& run, size_t first_pixel,
                                                const Columns& weights, const Four& bias, const Store& store) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  const int8_t* rows[kWindow];
  for (int y = 0; y < kWindow; ++y) rows[y] = run.taps[y * kWindow] + tile.first_channel;
  size_t offset = 0;
  const auto next_column = [&] {
    __m512i taps[kWindow];
#pragma GCC unroll 3
    for (int y = 0; y < kWindow; ++y) {
      taps[y] = _mm512_xor_si512(_mm512_maskz_loadu_epi8(store.mask, rows[y] + offset), sign);
    }
    offset += tile.pixels.column_step;
    return interleave(taps[0], taps[1], taps[2], sign);
  };
  const Four first = next_column();
  Four one = multiply_column(bias, first, weights.of[0]);  // sums of the window that has one column so far
  Four two = one;                                          // and of the one that has two; with stride 2 the same
  if constexpr (kStride == 1) {
    const Four second = next_column();
    two = multiply_column(one, second, weights.of[1]);
    one = multiply_column(bias, second, weights.of[0]);
  }
  const auto end = first_pixel + static_cast<size_t>(run.num_pixels);
  for (size_t pixel = first_pixel; pixel < end; ++pixel) {
    if constexpr (kStride == 2) two = multiply_column(one, next_column(), weights.of[1]);
    const Four column = next_column();
    store(multiply_column(two, column, weights.of[2]), pixel);
    if constexpr (kStride == 1) two = multiply_column(one, column, weights.of[1]);
    one = multiply_column(bias, column, weights.of[0]);
  }
}

// Any window, a pixel at a time.
struct AnyWindow {
  const DepthwiseTile& tile;
  const int32_t* bias;
  const int8_t* weights;

  [[gnu::always_inline]] Four operator()(const int8_t* const* taps, size_t offset) const {
    return multiply_pixel(taps, tile.depth, offset + tile.first_channel, stored_channels(tile), weights, bias);
  }
};

// A run of 3 x 3 windows of 32 channels that lie one behind another. A vector has one column of two windows.
template <typename Store>
[[gnu::always_inline]] inline void multiply_pairs(const AnyWindow& any, const TapRun& run, size_t first_pixel,
                                                  const Columns& weights, const Four& bias, const Store& store) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  size_t offset = 0;
  const auto next_columns = [&] {
    __m512i taps[kWindow];
#pragma GCC unroll 3
    for (int y = 0; y < kWindow; ++y)
      taps[y] = _mm512_xor_si512(_mm512_loadu_si512(run.taps[y * kWindow] + offset), sign);
    offset += kPairChannels;
    return interleave(taps[0], taps[1], taps[2], sign);
  };
  const auto count = static_cast<size_t>(run.num_pixels);
  Four first = multiply_column(bias, next_columns(), weights.of[0]);
  for (size_t i = 0; i + 2 <= count; i += 2) {
    const Four sums = multiply_column(first, next_columns(), weights.of[1]);
    const Four last = next_columns();
    store.pair(multiply_column(sums, last, weights.of[2]), first_pixel + i);
    first = multiply_column(bias, last, weights.of[0]);
  }
  if (count % 2 == 1) store(any(run.taps, (count - 1) * kPairChannels), first_pixel + count - 1);
}

template <int kStride, typename Store>
bool takes_pairs(const DepthwiseTile& tile, const Store& store) {
  if constexpr (kStride == 1 && Store::kTakesPairs) {
    return tile.num_channels == kPairChannels && tile.pixels.step == kPairChannels && store.out_stride == kPairChannels;
  }
  return false;
}

template <int kStride, typename Store>
void multiply_windows(const AnyWindow& any, const Store& store) {
  const DepthwiseTile& tile = any.tile;
  const bool pairs = takes_pairs<kStride>(tile, store);
  Columns weights;
  const auto load = [&](int tap) {
    const __m512i codes = _mm512_loadu_si512(tile.codes + tap * kLineBytes);
    return pairs ? _mm512_shuffle_i64x2(codes, codes, 0x44) : codes;
  };
  for (int x = 0; x < kWindow; ++x) {
    const Four column = interleave(load(x), load(x + kWindow), load(x + 2 * kWindow), _mm512_setzero_si512());
    for (uint32_t v = 0; v < kVectors; ++v) weights.of[x][v] = column.of[v];
  }
  Four bias;
  for (uint32_t v = 0; v < kVectors; ++v) bias.of[v] = _mm512_loadu_si512(any.bias + v * kLaneChannels);
  size_t pixel = 0;
  for (int r = 0; r < tile.pixels.num_runs; ++r) {
    const TapRun& run = tile.pixels.runs[r];
    if (run.num_pixels == 1) {
      store(any(run.taps, 0), pixel);
    } else if (pairs) {
      if constexpr (Store::kTakesPairs) multiply_pairs(any, run, pixel, weights, bias, store);
    } else {
      multiply_run<kStride>(tile, run, pixel, weights, bias, store);
    }
    pixel += static_cast<size_t>(run.num_pixels);
  }
}

// Which of the strides that multiply_windows has; 0 for another window.
int window_stride(const DepthwiseTile& tile) {
  const DepthwisePixels& pixels = tile.pixels;
  if (pixels.columns != kWindow || tile.depth != kWindow * kWindow) return 0;
  return pixels.step == pixels.column_step ? 1 : pixels.step == 2 * pixels.column_step ? 2 : 0;
}

template <typename Store>
void multiply_tile(const DepthwiseTile& tile, const Store& store) {
  alignas(64) int32_t bias[kDepthwiseChannels];
  mix_channels(tile.bias, tile.num_channels, bias);
  auto* weights = reinterpret_cast<int8_t*>(tile.scratch);
  interleave_weights(tile, weights);
  const AnyWindow any = {tile, bias, weights};
  const int stride = window_stride(tile);
  if (stride == 1) return multiply_windows<1>(any, store);
  if (stride == 2) return multiply_windows<2>(any, store);
  for_each_pixel(tile,
                 [&](const int8_t* const* taps, size_t offset, size_t pixel) { store(any(taps, offset), pixel); });
}

void multiply(const DepthwiseTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride) {
  alignas(64) float multiplier[kDepthwiseChannels];
  mix_channels(requantization.multiplier, tile.num_channels, multiplier);
  const auto store = [&](auto codes) { multiply_tile(tile, codes); };
  const Requantizer requantizer = make_requantizer(requantization);
  const __mmask64 mask = stored_channels(tile);
  switch (clamp_of(requantization)) {
    case Clamp::kFromLowest:
      return store(StoreCodes<Clamp::kFromLowest>{requantizer, multiplier, mask, out, out_stride});
    case Clamp::kSaturates:
      return store(StoreCodes<Clamp::kSaturates>{requantizer, multiplier, mask, out, out_stride});
    case Clamp::kCodes:
      return store(StoreCodes<Clamp::kCodes>{requantizer, multiplier, mask, out, out_stride});
    case Clamp::kSums:
      return store(StoreCodes<Clamp::kSums>{requantizer, multiplier, mask, out, out_stride});
  }
}

void multiply_float(const DepthwiseTile& tile, const Dequantization& dequantization, float* out, size_t out_stride) {
  MixedDequantization mixed(dequantization, tile.num_channels);
  multiply_tile(tile, StoreFloats{&mixed, stored_channels(tile), out, out_stride});
}

}  // namespace

constexpr DepthwiseKernel depthwise_avx512vnni = [] {
  DepthwiseKernel kernel;
  kernel.isa = "avx512vnni";
  kernel.supported = has_avx512vnni;
  kernel.sum_offset = 128;
  kernel.unpack = unpack_avx512vnni;
  kernel.multiply = multiply;
  kernel.multiply_float = multiply_float;
  return kernel;
}();

}  // namespace nq
#endif
