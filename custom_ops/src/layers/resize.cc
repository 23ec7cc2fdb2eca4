#include "layers/resize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace nq {
namespace {

constexpr int kWeightBits = 11;

float scale_of(int32_t in, int32_t out, bool align_corners) {
  const int32_t steps = align_corners && out > 1 ? 1 : 0;
  return static_cast<float>(in - steps) / static_cast<float>(out - steps);
}

template <typename Element>
void copy_nearest(const ResizedImage& image, const Element* in, int64_t row, Element* out) {
  const auto channels = static_cast<size_t>(image.channels);
  const Element* from =
      in + static_cast<size_t>(image.rows[static_cast<size_t>(row)].first) * static_cast<size_t>(image.in_w) * channels;
  for (const ResizeTap& column : image.columns) {
    std::memcpy(out, from + static_cast<size_t>(column.first) * channels, channels * sizeof(Element));
    out += channels;
  }
}

}  // namespace

std::vector<ResizeTap> nearest_taps(int32_t in, int32_t out, ResizeMode mode) {
  const float scale = scale_of(in, out, mode.align_corners), offset = mode.half_pixel_centers ? 0.5f : 0.0f;
  std::vector<ResizeTap> taps;
  for (int32_t position = 0; position < out; ++position) {
    const float place = (static_cast<float>(position) + offset) * scale;
    const float nearest = mode.align_corners ? std::round(place) : std::floor(place);
    const int32_t source = std::max(std::min(static_cast<int32_t>(nearest), in - 1), 0);
    taps.push_back({source, source, 0, 0});
  }
  return taps;
}

std::vector<ResizeTap> linear_taps(int32_t in, int32_t out, ResizeMode mode) {
  const float scale = scale_of(in, out, mode.align_corners), last = static_cast<float>(in - 1);
  const float offset = mode.half_pixel_centers ? 0.5f * scale - 0.5f : 0.0f;
  std::vector<ResizeTap> taps;
  for (int32_t position = 0; position < out; ++position) {
    const float place = std::min(std::max(static_cast<float>(position) * scale + offset, 0.0f), last);
    const auto first = static_cast<int32_t>(place);
    const float beyond = place - static_cast<float>(first);
    taps.push_back({first, std::min(first + 1, in - 1),
                    static_cast<int32_t>(std::lrint(beyond * static_cast<float>(1 << kWeightBits))), beyond});
  }
  return taps;
}

void nearest_row(const ResizedImage& image, const int8_t* in, int64_t row, int8_t* out) {
  copy_nearest(image, in, row, out);
}

void nearest_row_of_floats(const ResizedImage& image, const float* in, int64_t row, float* out) {
  copy_nearest(image, in, row, out);
}

void linear_row(const ResizedImage& image, const int8_t* in, int64_t row, int8_t* out) {
  const ResizeTap& tap = image.rows[static_cast<size_t>(row)];
  const int64_t channels = image.channels, row_elements = image.in_w * channels;
  const int8_t *top = in + tap.first * row_elements, *bottom = in + tap.second * row_elements;
  const int32_t down = tap.weight;
  for (const ResizeTap& column : image.columns) {
    const int64_t left = column.first * channels, right = column.second * channels;
    const int32_t across = column.weight;
    for (int64_t c = 0; c < channels; ++c) {
      const int32_t above = top[left + c] * (1 << kWeightBits) + (top[right + c] - top[left + c]) * across;
      const int32_t below = bottom[left + c] * (1 << kWeightBits) + (bottom[right + c] - bottom[left + c]) * across;
      const int32_t sum = above * (1 << kWeightBits) + (below - above) * down;
      out[c] = static_cast<int8_t>((sum + (1 << (2 * kWeightBits - 1))) >> (2 * kWeightBits));
    }
    out += channels;
  }
}

void linear_row_of_floats(const ResizedImage& image, const float* in, int64_t row, float* out) {
  const ResizeTap& tap = image.rows[static_cast<size_t>(row)];
  const int64_t channels = image.channels, row_elements = image.in_w * channels;
  const float *top = in + tap.first * row_elements, *bottom = in + tap.second * row_elements;
  for (const ResizeTap& column : image.columns) {
    const int64_t left = column.first * channels, right = column.second * channels;
    for (int64_t c = 0; c < channels; ++c) {
      const float above = top[left + c] + (top[right + c] - top[left + c]) * column.beyond;
      const float below = bottom[left + c] + (bottom[right + c] - bottom[left + c]) * column.beyond;
      out[c] = above + (below - above) * tap.beyond;
    }
    out += channels;
  }
}

}  // namespace nq
