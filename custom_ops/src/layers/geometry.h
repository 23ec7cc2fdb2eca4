// How a convolution moves its window: NHWC tensors, TFLite's padding rules.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nq {

// Greatest stride, dilation and kernel size, so that products of two stay within int32.
inline constexpr int32_t kMaxWindowStep = 1 << 14;

// Greatest side of an image, so that sums of several stay within int32.
inline constexpr int32_t kMaxImageSide = 1 << 24;

struct Window {
  int32_t kernel_h = 1, kernel_w = 1;
  int32_t stride_h = 1, stride_w = 1;
  int32_t dilation_h = 1, dilation_w = 1;
  bool same_padding = false;
  // Rows and columns around the image, where the padding is not SAME.
  int32_t pad_top = 0, pad_bottom = 0, pad_left = 0, pad_right = 0;
};

struct Geometry {
  Window window;
  int32_t batches = 1, in_h = 1, in_w = 1, in_c = 1;
  int32_t out_h = 1, out_w = 1, out_c = 1;
  int32_t pad_top = 0, pad_left = 0;

  int64_t pixels() const { return int64_t{batches} * out_h * out_w; }
};

inline int32_t window_span(int32_t kernel, int32_t dilation) { return (kernel - 1) * dilation + 1; }

// 0 where the window does not fit.
inline int32_t output_size(int32_t in, int32_t span, int32_t stride, bool same_padding) {
  if (same_padding) return (in + stride - 1) / stride;
  return in < span ? 0 : (in - span) / stride + 1;
}

inline int32_t padding_before(int32_t in, int32_t out, int32_t span, int32_t stride) {
  return std::max((out - 1) * stride + span - in, 0) / 2;
}

// Sets the output's size and the padding from the rest.
inline void place_window(Geometry* g) {
  const Window& w = g->window;
  const int32_t span_h = window_span(w.kernel_h, w.dilation_h), span_w = window_span(w.kernel_w, w.dilation_w);
  g->out_h = output_size(g->in_h + w.pad_top + w.pad_bottom, span_h, w.stride_h, w.same_padding);
  g->out_w = output_size(g->in_w + w.pad_left + w.pad_right, span_w, w.stride_w, w.same_padding);
  g->pad_top = w.same_padding ? padding_before(g->in_h, g->out_h, span_h, w.stride_h) : w.pad_top;
  g->pad_left = w.same_padding ? padding_before(g->in_w, g->out_w, span_w, w.stride_w) : w.pad_left;
}

// Whether a window whose first tap is at (top, left) needs no padding.
inline bool window_inside(const Geometry& g, int64_t top, int64_t left) {
  const Window& w = g.window;
  return top >= 0 && left >= 0 && top + window_span(w.kernel_h, w.dilation_h) <= g.in_h &&
         left + window_span(w.kernel_w, w.dilation_w) <= g.in_w;
}

// Whether each pixel of the output is computed from that of the input at its place.
inline bool pixel_by_pixel(const Geometry& g) {
  const Window& w = g.window;
  return w.kernel_h == 1 && w.kernel_w == 1 && w.stride_h == 1 && w.stride_w == 1 && g.out_h == g.in_h &&
         g.out_w == g.in_w;
}

// A pixel of the output. Stepping from one to the next costs less than dividing for each.
struct Place {
  int64_t batch, y, x;
};

inline Place place_of(const Geometry& g, int64_t pixel) {
  return {pixel / g.out_w / g.out_h, pixel / g.out_w % g.out_h, pixel % g.out_w};
}

// By as many pixels as are left in the row, at most.
inline void advance(const Geometry& g, Place* place, int64_t pixels = 1) {
  place->x += pixels;
  if (place->x < g.out_w) return;
  place->x = 0;
  if (++place->y < g.out_h) return;
  place->y = 0;
  ++place->batch;
}

}  // namespace nq
