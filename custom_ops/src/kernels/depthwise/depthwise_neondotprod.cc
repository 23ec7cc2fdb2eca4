// Four taps at a time, 16 channels: their bytes are interleaved, so that a dot product sums a channel's four. In a row
// of 3 x 3 or 5 x 5 windows a column of the input is interleaved once for all windows that it is in.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/depthwise/depthwise_neon.h"
#include "kernels/depthwise/depthwise_pixels.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const DepthwiseKernel depthwise_neondotprod;

namespace {

constexpr uint32_t kGroup = 4;  // taps
constexpr int kVectors = 4;     // of 4 channels
constexpr int kWindow = 3;

struct Four {
  int8x16_t of[kVectors];
};

[[gnu::always_inline]] inline Four interleave(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d) {
  const int16x8_t ab_low = vreinterpretq_s16_s8(vzip1q_s8(a, b)), ab_high = vreinterpretq_s16_s8(vzip2q_s8(a, b));
  const int16x8_t cd_low = vreinterpretq_s16_s8(vzip1q_s8(c, d)), cd_high = vreinterpretq_s16_s8(vzip2q_s8(c, d));
  return {{vreinterpretq_s8_s16(vzip1q_s16(ab_low, cd_low)), vreinterpretq_s8_s16(vzip2q_s16(ab_low, cd_low)),
           vreinterpretq_s8_s16(vzip1q_s16(ab_high, cd_high)), vreinterpretq_s8_s16(vzip2q_s16(ab_high, cd_high))}};
}

[[gnu::always_inline]] inline Four load_group(const int8_t* weights) {
  return {{vld1q_s8(weights), vld1q_s8(weights + 16), vld1q_s8(weights + 32), vld1q_s8(weights + 48)}};
}

[[gnu::always_inline]] inline SixteenSums add_group(const SixteenSums& sums, const Four& taps, const Four& weights) {
  return {
      {vdotq_s32(sums.low.first, taps.of[0], weights.of[0]), vdotq_s32(sums.low.second, taps.of[1], weights.of[1])},
      {vdotq_s32(sums.high.first, taps.of[2], weights.of[2]), vdotq_s32(sums.high.second, taps.of[3], weights.of[3])}};
}

// Any window, a pixel at a time.

// The groups of 16 channels from c on; taps that fill up the last one have weight 0. Returns their end.
int8_t* interleave_weights(const DepthwiseTile& tile, uint32_t c, int8_t* weights) {
  for (uint32_t t = 0; t < tile.depth; t += kGroup) {
    int8x16_t taps[kGroup];
    for (uint32_t i = 0; i < kGroup; ++i) {
      taps[i] = t + i < tile.depth ? vld1q_s8(tile.codes + (t + i) * kLineBytes + c) : vdupq_n_s8(0);
    }
    const Four mixed = interleave(taps[0], taps[1], taps[2], taps[3]);
    for (int v = 0; v < kVectors; ++v, weights += 16) vst1q_s8(weights, mixed.of[v]);
  }
  return weights;
}

// `offset` is from each tap.
template <typename Load>
[[gnu::always_inline]] inline SixteenSums multiply_pixel(const int8_t* const* taps, uint32_t depth, size_t offset,
                                                         const int8_t* weights, const int32_t* bias, const Load& load) {
  SixteenSums sums = load_sixteen(bias);
  const auto tap = [&](uint32_t t) __attribute__((always_inline)) { return load(taps[t] + offset); };
  uint32_t t = 0;
  for (; t + kGroup <= depth; t += kGroup, weights += kLineBytes) {
    sums = add_group(sums, interleave(tap(t), tap(t + 1), tap(t + 2), tap(t + 3)), load_group(weights));
  }
  if (t < depth) {
    const int8x16_t first = tap(t), second = t + 1 < depth ? tap(t + 1) : first;
    const int8x16_t third = t + 2 < depth ? tap(t + 2) : first;
    sums = add_group(sums, interleave(first, second, third, first), load_group(weights));
  }
  return sums;
}

template <typename Store>
void multiply_any(const DepthwiseTile& tile, const Store& store) {
  auto* weights = reinterpret_cast<int8_t*>(tile.scratch);
  const size_t step = size_t{(tile.depth + kGroup - 1) / kGroup} * kLineBytes;
  if (tile.num_channels < kChannels) {
    interleave_weights(tile, 0, weights);
    for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
      const LoadFirst load = {tile.num_channels};
      const SixteenSums sums = multiply_pixel(taps, tile.depth, offset + tile.first_channel, weights, tile.bias, load);
      store.first(sums, pixel, tile.num_channels);
    });
    return;
  }
  int8_t* next = weights;
  for_each_sixteen(tile, [&](uint32_t c) { next = interleave_weights(tile, c, next); });
  for_each_pixel(tile, [&](const int8_t* const* taps, size_t offset, size_t pixel) {
    const int8_t* of_channels = weights;
    for_each_sixteen(tile, [&](uint32_t c) {
      const size_t first = offset + tile.first_channel + c;
      const SixteenSums sums[] = {multiply_pixel(taps, tile.depth, first, of_channels, tile.bias + c, LoadAll())};
      store(sums, pixel, c);
      of_channels += step;
    });
  });
}

// 16 channels of 3 x 3 windows, run after run. Where a run goes on in its row, the columns that its first window shares
// with the window before have been multiplied already.
template <int kStride, typename Store>
class Windows {
 public:
  [[gnu::always_inline]] Windows(const DepthwiseTile& tile, uint32_t channel, const Store& store)
      : store_(store), bias_(tile.bias + channel), step_(tile.pixels.step), channel_(channel) {
    const auto code = [&](int tap) { return vld1q_s8(tile.codes + channel + tap * kLineBytes); };
    for (int x = 0; x < kWindow; ++x) {
      weights_[x] = interleave(code(x), code(x + kWindow), code(x + 2 * kWindow), vdupq_n_s8(0));
    }
    first_ = tile.first_channel + channel;
  }

  [[gnu::always_inline]] void add_run(const TapRun& run) {
    const int8_t* const* taps = run.taps;
    const size_t end = pixel_ + static_cast<size_t>(run.num_pixels);
    if constexpr (kStride == 1) {
      step_by_one(taps, run.goes_on, end);
    } else {
      step_by_two(taps, run.goes_on, end);
    }
  }

 private:
  [[gnu::always_inline]] static Four column(const int8_t* const (&rows)[kWindow], size_t offset) {
    return interleave(vld1q_s8(rows[0] + offset), vld1q_s8(rows[1] + offset), vld1q_s8(rows[2] + offset),
                      vdupq_n_s8(0));
  }

  struct Rows {
    [[gnu::always_inline]] Rows(const int8_t* const* taps, int x)
        : of{taps[x], taps[kWindow + x], taps[2 * kWindow + x]} {}
    const int8_t* const of[kWindow];
  };

  [[gnu::always_inline]] SixteenSums begin(const Four& column) const {
    return add_group(load_sixteen(bias_), column, weights_[0]);
  }

  [[gnu::always_inline]] void finish_pixel(const SixteenSums& sums, size_t pixel) const {
    const SixteenSums one[] = {sums};
    store_(one, pixel, channel_);
  }

  // The sums of a window that lacks its last column, of the next one and of one that begins take turns in three places,
  // so that none is moved.
  [[gnu::always_inline]] void step_by_one(const int8_t* const* taps, bool goes_on, size_t end) {
    SixteenSums two = next_[0], one = next_[1], none;
    if (!goes_on) {
      const Four second = column(Rows(taps, 1).of, first_);
      two = add_group(begin(column(Rows(taps, 0).of, first_)), second, weights_[1]);
      one = begin(second);
    }
    const Rows rows(taps, 2);
    size_t offset = first_;
    const auto finish = [&](size_t pixel, SixteenSums& whole, SixteenSums& more, SixteenSums& fresh)
                            __attribute__((always_inline)) {
                              const Four last = column(rows.of, offset);
                              finish_pixel(add_group(whole, last, weights_[2]), pixel);
                              more = add_group(more, last, weights_[1]);
                              fresh = begin(last);
                              offset += step_;
                            };
    for (; pixel_ + 3 <= end; pixel_ += 3) {
      finish(pixel_, two, one, none);
      finish(pixel_ + 1, one, none, two);
      finish(pixel_ + 2, none, two, one);
    }
    for (; pixel_ < end; ++pixel_, two = one, one = none) finish(pixel_, two, one, none);
    next_[0] = two, next_[1] = one;
  }

  [[gnu::always_inline]] void step_by_two(const int8_t* const* taps, bool goes_on, size_t end) {
    SixteenSums one = goes_on ? next_[0] : begin(column(Rows(taps, 0).of, first_));
    const Rows middle(taps, 1), rows(taps, 2);
    for (size_t offset = first_; pixel_ < end; ++pixel_, offset += step_) {
      one = add_group(one, column(middle.of, offset), weights_[1]);
      const Four last = column(rows.of, offset);
      finish_pixel(add_group(one, last, weights_[2]), pixel_);
      one = begin(last);
    }
    next_[0] = one;
  }

  const Store store_;
  const int32_t* const bias_;
  const size_t step_;
  const uint32_t channel_;
  size_t first_, pixel_ = 0;
  Four weights_[kWindow];  // a column in each
  SixteenSums next_[2] = {};
};

template <int kStride, typename Store>
void multiply_windows(const DepthwiseTile& tile, const Store& store) {
  for_each_sixteen(tile, [&](uint32_t c) {
    Windows<kStride, Store> windows(tile, c, store);
    for (int r = 0; r < tile.pixels.num_runs; ++r) windows.add_run(tile.pixels.runs[r]);
  });
}

// 8 channels of 5 x 5 windows, likewise: their weights and the sums of five windows fit in the registers. Dot products
// sum the first four rows of a column and the first four columns of the last row, which leaves one tap.
template <int kStride, typename Store>
class LargeWindows {
 public:
  static constexpr int kWindow = 5;

  [[gnu::always_inline]] LargeWindows(const DepthwiseTile& tile, uint32_t channel, const Store& store)
      : store_(store), bias_(tile.bias + channel), step_(tile.pixels.step), channel_(channel) {
    const int8_t* codes = tile.codes + channel;
    const auto code = [=](int y, int x) { return load_eight(codes + (y * kWindow + x) * kLineBytes); };
    for (int x = 0; x < kWindow; ++x) columns_[x] = interleave(code(0, x), code(1, x), code(2, x), code(3, x));
    row_ = interleave(code(4, 0), code(4, 1), code(4, 2), code(4, 3));
    last_ = vget_low_s8(code(4, 4));
    first_ = tile.first_channel + channel;
  }

  [[gnu::always_inline]] void add_run(const TapRun& run) {
    const size_t end = pixel_ + static_cast<size_t>(run.num_pixels);
    if constexpr (kStride == 1) {
      step_by_one(run.taps, run.goes_on, end);
    } else {
      step_by_two(run.taps, run.goes_on, end);
    }
  }

 private:
  struct Two {
    int8x16_t of[2];
  };

  // What has been read of the last row: a pixel, and the pairs before it, which end at it, a pixel earlier and so on.
  struct LastRow {
    int8x16_t pixel, pair, earlier, earliest;

    [[gnu::always_inline]] void add(int8x16_t next) {
      earliest = earlier;
      earlier = pair;
      pair = vzip1q_s8(pixel, next);
      pixel = next;
    }

    [[gnu::always_inline]] Two four() const { return interleave(earliest, pair); }
  };

  [[gnu::always_inline]] static int8x16_t load_eight(const int8_t* bytes) {
    return vcombine_s8(vld1_s8(bytes), vdup_n_s8(0));
  }

  [[gnu::always_inline]] static Two interleave(int8x16_t first_pair, int8x16_t second_pair) {
    const int16x8_t first = vreinterpretq_s16_s8(first_pair), second = vreinterpretq_s16_s8(second_pair);
    return {{vreinterpretq_s8_s16(vzip1q_s16(first, second)), vreinterpretq_s8_s16(vzip2q_s16(first, second))}};
  }

  [[gnu::always_inline]] static Two interleave(int8x16_t a, int8x16_t b, int8x16_t c, int8x16_t d) {
    return interleave(vzip1q_s8(a, b), vzip1q_s8(c, d));
  }

  [[gnu::always_inline]] static EightSums add(const EightSums& sums, const Two& taps, const Two& weights) {
    return {vdotq_s32(sums.first, taps.of[0], weights.of[0]), vdotq_s32(sums.second, taps.of[1], weights.of[1])};
  }

  struct Column {
    [[gnu::always_inline]] Column(const int8_t* const* taps, int x) {
      for (int y = 0; y < kWindow; ++y) rows[y] = taps[y * kWindow + x];
    }

    [[gnu::always_inline]] Two four(size_t offset) const {
      return interleave(load_eight(rows[0] + offset), load_eight(rows[1] + offset), load_eight(rows[2] + offset),
                        load_eight(rows[3] + offset));
    }

    [[gnu::always_inline]] int8x16_t last(size_t offset) const { return load_eight(rows[4] + offset); }

    const int8_t* rows[kWindow];
  };

  [[gnu::always_inline]] EightSums begin(const Two& column) const { return add(load_sums(bias_), column, columns_[0]); }

  // A window that lacks its last column alone.
  [[gnu::always_inline]] void finish(const EightSums& sums, const Two& column, size_t pixel) const {
    const EightSums all = add(sums, column, columns_[4]);
    const int16x8_t products = vmull_s8(vget_low_s8(row_of_.pixel), last_);
    store_.eight({vaddw_s16(all.first, vget_low_s16(products)), vaddw_high_s16(all.second, products)}, pixel, channel_);
  }

  // Sums of windows that lack one column, two, three and four.
  [[gnu::always_inline]] void step_by_one(const int8_t* const* taps, bool goes_on, size_t end) {
    EightSums one = sums_[0], two = sums_[1], three = sums_[2], four = sums_[3], fresh;
    if (!goes_on) {
      one = two = three = load_sums(bias_);
      for (int x = 0; x < kWindow - 1; ++x) {
        const Column column(taps, x);
        const Two taps_of_four = column.four(first_);
        row_of_.add(column.last(first_));
        one = add(one, taps_of_four, columns_[x]);
        if (x > 0) two = add(two, taps_of_four, columns_[x - 1]);
        if (x > 1) three = add(three, taps_of_four, columns_[x - 2]);
        if (x > 2) four = begin(taps_of_four);
      }
      one = add(one, row_of_.four(), row_);
    }
    const Column last(taps, kWindow - 1);
    size_t offset = first_, pixel = pixel_;
    const auto next = [&](size_t at, EightSums& of_one, EightSums& of_two, EightSums& of_three, EightSums& of_four,
                          EightSums& of_fresh) __attribute__((always_inline)) {
      asm("" : "+r"(offset));  // or Clang would move five pointers on
      const Two column = last.four(offset);
      row_of_.add(last.last(offset));
      finish(of_one, column, at);
      of_two = add(add(of_two, column, columns_[3]), row_of_.four(), row_);
      of_three = add(of_three, column, columns_[2]);
      of_four = add(of_four, column, columns_[1]);
      of_fresh = begin(column);
      offset += step_;
    };
    for (; pixel + kWindow <= end; pixel += kWindow) {
      next(pixel, one, two, three, four, fresh);
      next(pixel + 1, two, three, four, fresh, one);
      next(pixel + 2, three, four, fresh, one, two);
      next(pixel + 3, four, fresh, one, two, three);
      next(pixel + 4, fresh, one, two, three, four);
    }
    for (; pixel < end; ++pixel, one = two, two = three, three = four, four = fresh) {
      next(pixel, one, two, three, four, fresh);
    }
    sums_[0] = one, sums_[1] = two, sums_[2] = three, sums_[3] = four, pixel_ = end;
  }

  // Sums of windows that lack two columns and four.
  [[gnu::always_inline]] void step_by_two(const int8_t* const* taps, bool goes_on, size_t end) {
    EightSums two = sums_[0], four = sums_[1];
    if (!goes_on) {
      two = load_sums(bias_);
      for (int x = 0; x < kWindow - 2; ++x) {
        const Column column(taps, x);
        const Two taps_of_four = column.four(first_);
        row_of_.add(column.last(first_));
        two = add(two, taps_of_four, columns_[x]);
        if (x == 2) four = begin(taps_of_four);
      }
    }
    const Column before(taps, kWindow - 2), last(taps, kWindow - 1);
    size_t offset = first_;
    for (size_t pixel = pixel_; pixel < end; ++pixel, offset += step_) {
      asm("" : "+r"(offset));
      const Two odd = before.four(offset), even = last.four(offset);
      row_of_.add(before.last(offset));
      two = add(add(two, odd, columns_[3]), row_of_.four(), row_);
      row_of_.add(last.last(offset));
      finish(two, even, pixel);
      two = add(add(four, odd, columns_[1]), even, columns_[2]);
      four = begin(even);
    }
    sums_[0] = two, sums_[1] = four, pixel_ = end;
  }

  const Store store_;
  const int32_t* const bias_;
  const size_t step_;
  const uint32_t channel_;
  size_t first_, pixel_ = 0;
  Two columns_[kWindow], row_;
  int8x8_t last_;
  LastRow row_of_ = {};
  EightSums sums_[kWindow - 1] = {};
};

template <int kStride, typename Store>
[[gnu::noinline]] void multiply_large_windows(const DepthwiseTile& tile, const Store& store) {
  constexpr uint32_t kEight = 8;
  const uint32_t last = tile.num_channels - kEight;
  for (uint32_t c = 0; c < tile.num_channels; c += kEight) {  // the last ones overlap those before them
    LargeWindows<kStride, Store> windows(tile, c < last ? c : last, store);
    for (int r = 0; r < tile.pixels.num_runs; ++r) windows.add_run(tile.pixels.runs[r]);
  }
}

// A square window of that side, with a stride that multiply_windows has; its stride, or 0 for another window.
int window_stride(const DepthwiseTile& tile, uint32_t side) {
  const DepthwisePixels& pixels = tile.pixels;
  if (pixels.columns != side || tile.depth != side * side || tile.num_channels < kChannels) return 0;
  return pixels.step == pixels.column_step ? 1 : pixels.step == 2 * pixels.column_step ? 2 : 0;
}

template <typename Store>
void multiply_tile(const DepthwiseTile& tile, const Store& store) {
  const int small = window_stride(tile, 3), large = window_stride(tile, 5);
  if (small == 1) return multiply_windows<1>(tile, store);
  if (small == 2) return multiply_windows<2>(tile, store);
  if (large == 1) return multiply_large_windows<1>(tile, store);
  if (large == 2) return multiply_large_windows<2>(tile, store);
  multiply_any(tile, store);
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

constexpr DepthwiseKernel depthwise_neondotprod = [] {
  DepthwiseKernel kernel;
  kernel.isa = "neondotprod";
  kernel.supported = has_neondotprod;
  kernel.unpack = unpack_neon;
  kernel.multiply = multiply;
  kernel.multiply_float = multiply_float;
  return kernel;
}();

}  // namespace nq
#endif
