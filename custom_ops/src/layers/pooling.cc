#include "layers/pooling.h"

#include <algorithm>
#include <cstring>

namespace nq {
namespace {

constexpr int64_t kTile = 256;  // channels that are summed together

// The part of an output pixel's window that lies within the image.
struct Taps {
  int64_t top, bottom, left, right;
  int64_t image;  // its first element

  int32_t count() const { return static_cast<int32_t>((bottom - top) * (right - left)); }
};

Taps taps_of(const Geometry& g, int64_t pixel) {
  const Place place = place_of(g, pixel);
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

}  // namespace

void max_pool_pixel(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                    int64_t pixel, int8_t* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  std::memset(out, range.low, channels);
  for_each_tap(g, taps_of(g, pixel), in, [&](const int8_t* from) { kernel.pooling.raise(from, channels, out); });
  if (range.high == 127) return;
  for (size_t c = 0; c < channels; ++c) out[c] = std::min(out[c], range.high);
}

void average_pool_pixel(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                        int64_t pixel, int8_t* out) {
  const Taps taps = taps_of(g, pixel);
  const int32_t taken = taps.count(), half = taken / 2;
  for (int64_t begin = 0; begin < g.in_c; begin += kTile) {
    const int64_t count = std::min(kTile, g.in_c - begin);
    int32_t sums[kTile] = {};
    for_each_tap(g, taps, in,
                 [&](const int8_t* from) { kernel.pooling.add_to(from + begin, static_cast<size_t>(count), sums); });
    for (int64_t c = 0; c < count; ++c) {
      const int32_t mean = (sums[c] > 0 ? sums[c] + half : sums[c] - half) / taken;
      out[begin + c] = clamp_to_int8(mean, range.low, range.high);
    }
  }
}

void max_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                     int64_t pixel, float* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  std::fill_n(out, channels, range.min);
  for_each_tap(g, taps_of(g, pixel), in, [&](const float* from) { kernel.floats.raise(from, channels, out); });
  for (size_t c = 0; c < channels; ++c) out[c] = out[c] > range.max ? range.max : out[c];
}

void average_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                         int64_t pixel, float* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  const Taps taps = taps_of(g, pixel);
  std::fill_n(out, channels, 0.0f);
  for_each_tap(g, taps, in, [&](const float* from) { kernel.floats.add_to(from, channels, out); });
  kernel.floats.scale(out, channels, 1.0f / static_cast<float>(taps.count()));
  kernel.floats.clamp(out, channels, range.min, range.max, out);
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

void FloatImageMean::run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const {
  const auto size = static_cast<size_t>(count);
  if (channels == 1) {
    *out = kernel_.floats.sum(in, static_cast<size_t>(pixels_)) / static_cast<float>(pixels_);
    return;
  }
  std::fill_n(out + begin, size, 0.0f);
  for (int64_t pixel = 0; pixel < pixels_; ++pixel)
    kernel_.floats.add_to(in + pixel * channels + begin, size, out + begin);
  kernel_.floats.scale(out + begin, size, 1.0f / static_cast<float>(pixels_));
}

}  // namespace nq
