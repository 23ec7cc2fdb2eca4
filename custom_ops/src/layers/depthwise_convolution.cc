#include "layers/depthwise_convolution.h"

#include <algorithm>

namespace nq {
namespace {

// Pixels that share one unpacking of the weights.
constexpr int64_t kBatch = 64;

}  // namespace

void DepthwiseConvolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  padding_.assign(static_cast<size_t>(geometry.in_c), static_cast<int8_t>(layer_->input_zero_point()));
  offsets_.clear();
  const Window& w = geometry.window;
  for (int64_t ky = 0; ky < w.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < w.kernel_w; ++kx) {
      offsets_.push_back((ky * w.dilation_h * geometry.in_w + kx * w.dilation_w) * geometry.in_c);
    }
  }
}

void DepthwiseConvolution::run(int level, const int8_t* input, int8_t* output, ThreadPool* pool) {
  const PackedWeight weight = layer_->packed(level);
  const int32_t* bias = layer_->folded_bias(level, kernel_.sum_offset);
  const Requantization requantization = layer_->requantization();
  const uint32_t depth = weight.block.depth, channels = weight.block.channels;
  const size_t pointer_bytes = sizeof(const int8_t*) * depth * kBatch;
  pool->run([&](int part, Workspace* workspace) {
    const Range pixels = split_range(geometry_.pixels(), part, pool->size());
    uint8_t* memory = workspace->get(pointer_bytes + depthwise_scratch_bytes(depth));
    auto* taps = reinterpret_cast<const int8_t**>(memory);
    for (int64_t first = pixels.begin; first < pixels.end; first += kBatch) {
      const int64_t count = std::min(kBatch, pixels.end - first);
      Place place = place_of(geometry_, first);
      for (int64_t i = 0; i < count; ++i, advance(geometry_, &place)) point_at_taps(input, place, taps + i * depth);
      kernel_.run(weight, taps, static_cast<int>(count), 0, channels, bias, requantization,
                  output + static_cast<size_t>(first) * channels, channels, memory + pointer_bytes);
    }
  });
}

void DepthwiseConvolution::point_at_taps(const int8_t* input, const Place& place, const int8_t** taps) const {
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
      *taps++ = row_inside && in_x >= 0 && in_x < g.in_w ? row + in_x * g.in_c : padding_.data();
    }
  }
}

}  // namespace nq
