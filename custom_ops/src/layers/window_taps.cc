#include "layers/window_taps.h"

#include <algorithm>

namespace nq {

void WindowTaps::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  offsets_.clear();
  const Window& w = geometry.window;
  for (int64_t ky = 0; ky < w.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < w.kernel_w; ++kx) {
      offsets_.push_back((ky * w.dilation_h * geometry.in_w + kx * w.dilation_w) * geometry.in_c);
    }
  }
  const int64_t room = int64_t{geometry.in_w} - window_span(w.kernel_w, w.dilation_w) + geometry.pad_left;
  inside_begin_ = (geometry.pad_left + w.stride_w - 1) / w.stride_w;
  inside_end_ = room < 0 ? 0 : std::min<int64_t>(room / w.stride_w + 1, geometry.out_w);
}

int64_t WindowTaps::run_length(const Place& place) const {
  return place.x >= inside_begin_ && place.x < inside_end_ ? inside_end_ - place.x : 1;
}

void WindowTaps::point(const int8_t* input, const int8_t* padding, const Place& place, const int8_t** taps) const {
  const Geometry& g = geometry_;
  const int8_t* image = input + place.batch * g.in_h * g.in_w * g.in_c;
  const int64_t top = place.y * g.window.stride_h - g.pad_top, left = place.x * g.window.stride_w - g.pad_left;
  if (window_inside(g, top, left)) {
    const int8_t* first = image + (top * g.in_w + left) * g.in_c;
    for (size_t tap = 0; tap < offsets_.size(); ++tap) taps[tap] = first + offsets_[tap];
    return;
  }
  for (int32_t ky = 0; ky < g.window.kernel_h; ++ky) {
    const int64_t in_y = top + int64_t{ky} * g.window.dilation_h;
    const bool row_inside = in_y >= 0 && in_y < g.in_h;
    const int8_t* row = image + in_y * g.in_w * g.in_c;
    for (int32_t kx = 0; kx < g.window.kernel_w; ++kx) {
      const int64_t in_x = left + int64_t{kx} * g.window.dilation_w;
      *taps++ = row_inside && in_x >= 0 && in_x < g.in_w ? row + in_x * g.in_c : padding;
    }
  }
}

}  // namespace nq
