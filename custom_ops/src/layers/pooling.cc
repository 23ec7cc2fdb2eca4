#include "layers/pooling.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace nq {
namespace {

constexpr int64_t kTile = 256;  // channels that are summed together

constexpr size_t kTaps = 64;  // that are compared, or added, together

// The part of an output pixel's window that lies within the image.
struct Taps {
  int64_t top, bottom, left, right;
  int64_t image;  // its first element

  int32_t count() const { return static_cast<int32_t>((bottom - top) * (right - left)); }
};

Taps taps_of(const Geometry& g, const Place& place) {
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  return {std::max<int64_t>(top, 0), std::min<int64_t>(top + g.window.kernel_h, g.in_h), std::max<int64_t>(left, 0),
          std::min<int64_t>(left + g.window.kernel_w, g.in_w), place.batch * g.in_h * g.in_w * g.in_c};
}

template <typename Element, typename Visit>
void for_each_tap(const Geometry& g, const Taps& taps, const Element* in, const Visit& visit) {
  for (int64_t y = taps.top; y < taps.bottom; ++y) {
    for (int64_t x = taps.left; x < taps.right; ++x) visit(in + taps.image + (y * g.in_w + x) * g.in_c);
  }
}

template <typename Element, typename Pool>
void for_each_pixel(const Geometry& g, Range pixels, Element* out, const Pool& pool) {
  Place place = place_of(g, pixels.begin);
  for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel, out += g.out_c) {
    pool(taps_of(g, place), out);
    advance(g, &place);
  }
}

// How many pixels from this one on, in its row, have as many taps at the same places of their windows.
int64_t run_length(const Geometry& g, const Place& place) {
  const int64_t left = place.x * g.window.stride_w - g.pad_left, room = g.in_w - g.window.kernel_w - left;
  if (left < 0 || room < 0) return 1;
  return std::min(room / g.window.stride_w + 1, g.out_w - place.x);
}

}  // namespace

void max_pool(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in, Range pixels,
              int8_t* out) {
  const auto channels = static_cast<size_t>(g.in_c), step = static_cast<size_t>(g.window.stride_w) * channels;
  const auto total = static_cast<size_t>(pixels.end - pixels.begin) * channels;
  const bool is_small = int64_t{g.window.kernel_h} * g.window.kernel_w <= static_cast<int64_t>(kTaps);
  Place place = place_of(g, pixels.begin);
  int8_t* to = out;
  for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const int64_t run = is_small ? std::min(run_length(g, place), pixels.end - pixel) : 1;
    const PooledRow row = {static_cast<size_t>(run), step, channels};
    const int8_t* taps[kTaps];
    size_t count = 0;
    for_each_tap(g, taps_of(g, place), in, [&](const int8_t* from) {
      if (count == kTaps) {
        kernel.pooling.greatest(taps, count, row, to);
        taps[0] = to;
        count = 1;
      }
      taps[count++] = from;
    });
    if (count == 0) {
      std::memset(to, range.low, channels);
    } else {
      kernel.pooling.greatest(taps, count, row, to);
    }
    pixel += run;
    to += row.pixels * channels;
    advance(g, &place, run);
  }
  if (range.low == -128 && range.high == 127) return;
  for (size_t i = 0; i < total; ++i) out[i] = std::clamp(out[i], range.low, range.high);
}

void average_pool(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                  Range pixels, int8_t* out) {
  for_each_pixel(g, pixels, out, [&](const Taps& taps, int8_t* to) {
    const int32_t taken = taps.count(), half = taken / 2;
    for (int64_t begin = 0; begin < g.in_c; begin += kTile) {
      const int64_t count = std::min(kTile, g.in_c - begin);
      int32_t sums[kTile] = {};
      for_each_tap(g, taps, in,
                   [&](const int8_t* from) { kernel.pooling.add_to(from + begin, static_cast<size_t>(count), sums); });
      for (int64_t c = 0; c < count; ++c) {
        const int32_t mean = (sums[c] > 0 ? sums[c] + half : sums[c] - half) / taken;
        to[begin + c] = clamp_to_int8(mean, range.low, range.high);
      }
    }
  });
}

void max_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                     Range pixels, float* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  for_each_pixel(g, pixels, out, [&](const Taps& taps, float* to) {
    std::fill_n(to, channels, range.min);
    for_each_tap(g, taps, in, [&](const float* from) { kernel.floats.raise(from, channels, to); });
    for (size_t c = 0; c < channels; ++c) to[c] = to[c] > range.max ? range.max : to[c];
  });
}

void average_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                         Range pixels, float* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  const float infinity = std::numeric_limits<float>::infinity();
  for_each_pixel(g, pixels, out, [&](const Taps& taps, float* to) {
    const float* some[kTaps];
    size_t count = 0;
    for_each_tap(g, taps, in, [&](const float* from) {
      if (count == kTaps) {
        kernel.floats.average(some, count, {1.0f, -infinity, infinity}, channels, to);
        some[0] = to;
        count = 1;
      }
      some[count++] = from;
    });
    const float factor = 1.0f / static_cast<float>(taps.count());
    kernel.floats.average(some, count, {factor, range.min, range.max}, channels, to);
  });
}

void ImageMean::set_pixels(int64_t pixels) {
  pixels_ = pixels;
  const auto count = static_cast<float>(pixels);
  scale_ = input_.scale / output_.scale * (1.0f / count);  // in XNNPACK's order
  offset_ = static_cast<float>(output_.zero_point) - count * static_cast<float>(input_.zero_point) * scale_;
}

void ImageMean::run(const int8_t* in, int64_t channels, int64_t begin, int64_t count, int8_t* out) const {
  if (channels == 1) {
    const int32_t sum = kernel_.codes.sum(in, static_cast<size_t>(pixels_));
    finish(&sum, 1, out);
    return;
  }
  for (const int64_t end = begin + count; begin < end; begin += kTile) {
    const int64_t tile = std::min(kTile, end - begin);
    int32_t sums[kTile] = {};
    for (int64_t pixel = 0; pixel < pixels_; ++pixel) {
      kernel_.pooling.add_to(in + pixel * channels + begin, static_cast<size_t>(tile), sums);
    }
    finish(sums, tile, out + begin);
  }
}

void ImageMean::finish(const int32_t* sums, int64_t count, int8_t* out) const {
  for (int64_t c = 0; c < count; ++c) {
    out[c] = clamp_to_int8(round_to_int16(static_cast<float>(sums[c]) * scale_ + offset_));
  }
}

void FloatImageSum::run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const {
  const auto size = static_cast<size_t>(count);
  if (channels == 1) {
    *out = kernel_.floats.sum(in, static_cast<size_t>(pixels_));
    return;
  }
  std::fill_n(out + begin, size, 0.0f);
  for (int64_t pixel = 0; pixel < pixels_; ++pixel)
    kernel_.floats.add_to(in + pixel * channels + begin, size, out + begin);
}

void FloatImageMean::run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const {
  FloatImageSum::run(in, channels, begin, count, out);
  if (channels == 1) {
    *out /= static_cast<float>(pixels_);
  } else {
    kernel_.floats.scale(out + begin, static_cast<size_t>(count), 1.0f / static_cast<float>(pixels_));
  }
}

void ImageGreatest::run(const int8_t* in, int64_t channels, int64_t begin, int64_t count, int8_t* out) const {
  if (channels == 1) {
    *out = static_cast<int8_t>(kernel_.codes.greatest(in, static_cast<size_t>(pixels_)));
    return;
  }
  const PooledRow row = {1, 0, static_cast<size_t>(count)};
  std::copy_n(in + begin, count, out + begin);
  for (int64_t pixel = 1; pixel < pixels_; ++pixel) {
    const int8_t* taps[] = {out + begin, in + pixel * channels + begin};
    kernel_.pooling.greatest(taps, 2, row, out + begin);
  }
}

void FloatImageGreatest::run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const {
  if (channels == 1) {
    *out = kernel_.floats.greatest(in, static_cast<size_t>(pixels_));
    return;
  }
  std::copy_n(in + begin, count, out + begin);
  for (int64_t pixel = 1; pixel < pixels_; ++pixel)
    kernel_.floats.raise(in + pixel * channels + begin, static_cast<size_t>(count), out + begin);
}

}  // namespace nq
