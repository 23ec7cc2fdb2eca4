#include "layers/float_layer.h"

#include <algorithm>
#include <cstring>

#include "format/bytes.h"
#include "nq/format.h"

namespace nq {
namespace {

constexpr int64_t kRowsAtOnce = 24;          // whole tiles of most kernels
constexpr int64_t kLeastProducts = 1 << 15;  // less than one thread does while it wakes another: `pool_bench`

const int8_t* bytes_of(const float* floats) { return reinterpret_cast<const int8_t*>(floats); }

}  // namespace

FloatLayer::FloatLayer(const ElementwiseKernel& kernel, const QuantizeKernel& quantize, const FloatWeight& weight,
                       PaddingRow* padding)
    : FinishingLayer(quantize), floats_(kernel.floats), weight_(weight), bias_(weight.channels), padding_(*padding) {
  if (weight.bias != nullptr) std::copy(weight.bias, weight.bias + weight.channels, bias_.begin());
  if (weight.depthwise) return;
  panels_.resize(panel_floats(weight.depth, weight.channels));
  floats_.pack_panels(weight.values, {weight.depth, weight.channels, 1, static_cast<int64_t>(weight.depth)},
                      panels_.data());
}

void FloatLayer::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  geometry_.in_c *= static_cast<int32_t>(sizeof(float));
  taps_.reshape(geometry_);
  padding_.reshape(geometry_);
  in_place_ = pixel_by_pixel(geometry);
}

void FloatLayer::run(const float* input, float* output, ThreadPool* pool) {
  padding_.fill(geometry_, 0);
  range_.clear();
  const int64_t pixels = geometry_.pixels();
  const bool alone = pixels * static_cast<int64_t>(weight_.channels * weight_.depth) < kLeastProducts;
  const int parts = alone ? 1 : pool->size();
  pool->run(parts, [&](int part, Workspace* workspace) {
    const Range range = split_range(pixels, part, parts);
    if (range.begin == range.end) return;
    if (weight_.depthwise) {
      multiply_depthwise(input, range, output, workspace);
    } else {
      multiply(input, range, output, workspace);
    }
  });
}

void FloatLayer::multiply(const float* input, Range pixels, float* output, Workspace* workspace) const {
  const size_t channels = weight_.channels, depth = weight_.depth;
  const size_t sum_bytes = align(kRowsAtOnce * channels * sizeof(float), kLineBytes);
  const size_t row_bytes = in_place_ ? 0 : align(kRowsAtOnce * depth * sizeof(float), kLineBytes);
  uint8_t* memory = workspace->get(sum_bytes + row_bytes + taps_.size() * sizeof(const int8_t*));
  auto* sums = reinterpret_cast<float*>(memory);
  auto* rows = reinterpret_cast<float*>(memory + sum_bytes);
  auto* taps = reinterpret_cast<const int8_t**>(memory + sum_bytes + row_bytes);
  for (int64_t first = pixels.begin; first < pixels.end; first += kRowsAtOnce) {
    const int64_t count = std::min(kRowsAtOnce, pixels.end - first);
    if (!in_place_) copy_rows(input, first, count, taps, rows);
    const float* a = in_place_ ? input + static_cast<size_t>(first) * depth : rows;
    const PanelProduct product = {static_cast<size_t>(count), depth, channels, static_cast<int64_t>(depth),
                                  static_cast<int64_t>(channels)};
    floats_.multiply_panels(product, a, panels_.data(), sums);
    float* out = output + static_cast<size_t>(first) * channels;
    for (size_t row = 0; row < static_cast<size_t>(count); ++row) {
      floats_.add({sums + row * channels, bias_.data(), 1, 1}, weight_.low, weight_.high, channels,
                  out + row * channels);
    }
    finish_.apply(out, count * static_cast<int64_t>(channels));
  }
}

// The windows of pixels that follow each other, in the filter's order.
void FloatLayer::copy_rows(const float* input, int64_t first, int64_t count, const int8_t** taps, float* rows) const {
  Place place = place_of(geometry_, first);
  auto* to = reinterpret_cast<int8_t*>(rows);
  const auto piece = static_cast<size_t>(geometry_.in_c);
  while (count > 0) {
    const int64_t length = std::min(taps_.run_length(place), count);
    taps_.point(bytes_of(input), padding_.data(), place, taps);
    const size_t together = length > 1 ? std::max<size_t>(taps_.columns(), 1) : 1;  // taps that follow each other
    for (size_t i = 0; i < static_cast<size_t>(length); ++i) {
      for (size_t t = 0; t < taps_.size(); t += together, to += together * piece) {
        std::memcpy(to, taps[t] + i * taps_.step(), together * piece);
      }
    }
    advance(geometry_, &place, length);
    count -= length;
  }
}

void FloatLayer::multiply_depthwise(const float* input, Range pixels, float* output, Workspace* workspace) const {
  const size_t channels = weight_.channels;
  auto* taps = reinterpret_cast<const int8_t**>(workspace->get(taps_.size() * sizeof(const int8_t*)));
  Place place = place_of(geometry_, pixels.begin);
  for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
    const int64_t length = std::min(taps_.run_length(place), pixels.end - pixel);
    taps_.point(bytes_of(input), padding_.data(), place, taps);
    float* out = output + static_cast<size_t>(pixel) * channels;
    const auto count = static_cast<size_t>(length);
    const TapProduct product = {count, taps_.step(), taps_.size(), channels, weight_.low, weight_.high};
    floats_.multiply_taps(product, taps, weight_.values, bias_.data(), out);
    finish_.apply(out, length * static_cast<int64_t>(channels));
    advance(geometry_, &place, length);
    pixel += length;
  }
}

}  // namespace nq
