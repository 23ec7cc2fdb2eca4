#include "layers/pooling.h"

#include <algorithm>
#include <cstring>

namespace nq {
namespace {

constexpr int64_t kTile = 256;  // channels that are summed together

// The part of an output pixel's window that lies within the image.
struct Taps {
  int64_t top, bottom, left, right;
  const int8_t* image;

  int32_t count() const { return static_cast<int32_t>((bottom - top) * (right - left)); }
};

Taps taps_of(const Geometry& g, const int8_t* in, int64_t pixel) {
  const Place place = place_of(g, pixel);
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  return {std::max<int64_t>(top, 0), std::min<int64_t>(top + g.window.kernel_h, g.in_h), std::max<int64_t>(left, 0),
          std::min<int64_t>(left + g.window.kernel_w, g.in_w), in + place.batch * g.in_h * g.in_w * g.in_c};
}

template <typename Visit>
void for_each_tap(const Geometry& g, const Taps& taps, const Visit& visit) {
  for (int64_t y = taps.top; y < taps.bottom; ++y) {
    for (int64_t x = taps.left; x < taps.right; ++x) visit(taps.image + (y * g.in_w + x) * g.in_c);
  }
}

}  // namespace

void max_pool_pixel(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                    int64_t pixel, int8_t* out) {
  const auto channels = static_cast<size_t>(g.in_c);
  std::memset(out, range.low, channels);
  for_each_tap(g, taps_of(g, in, pixel), [&](const int8_t* from) { kernel.pooling.raise(from, channels, out); });
  if (range.high == 127) return;
  for (size_t c = 0; c < channels; ++c) out[c] = std::min(out[c], range.high);
}

void average_pool_pixel(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                        int64_t pixel, int8_t* out) {
  const Taps taps = taps_of(g, in, pixel);
  const int32_t taken = taps.count(), half = taken / 2;
  for (int64_t begin = 0; begin < g.in_c; begin += kTile) {
    const int64_t count = std::min(kTile, g.in_c - begin);
    int32_t sums[kTile] = {};
    for_each_tap(g, taps,
                 [&](const int8_t* from) { kernel.pooling.add_to(from + begin, static_cast<size_t>(count), sums); });
    for (int64_t c = 0; c < count; ++c) {
      const int32_t mean = (sums[c] > 0 ? sums[c] + half : sums[c] - half) / taken;
      out[begin + c] = clamp_to_int8(mean, range.low, range.high);
    }
  }
}

void ImageMean::set(Quantization input, Quantization output, int64_t pixels) {
  pixels_ = pixels;
  const auto count = static_cast<float>(pixels);
  scale_ = input.scale / output.scale * (1.0f / count);  // in XNNPACK's order
  offset_ = static_cast<float>(output.zero_point) - count * static_cast<float>(input.zero_point) * scale_;
}

void ImageMean::run(const int8_t* in, int64_t channels, int64_t begin, int64_t count, int8_t* out) const {
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

}  // namespace nq
