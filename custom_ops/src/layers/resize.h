// Images of another size, NHWC. Nearest pixels as TFLite's own kernel takes them; linear interpolation of int8 with
// XNNPACK's 11-bit weights.
#pragma once

#include <cstdint>
#include <vector>

namespace nq {

struct ResizeMode {
  bool align_corners = false, half_pixel_centers = false;
};

// Along one axis: of each output position the input positions it lies between, and how far from the first, in 1/2048
// and as it is.
struct ResizeTap {
  int32_t first, second, weight;
  float beyond;
};

std::vector<ResizeTap> nearest_taps(int32_t in, int32_t out, ResizeMode mode);
std::vector<ResizeTap> linear_taps(int32_t in, int32_t out, ResizeMode mode);

struct ResizedImage {
  int32_t in_h, in_w, channels;
  std::vector<ResizeTap> rows, columns;  // one for each row and column of the output
};

// One row of the output; `in` is the image that it belongs to.
void nearest_row(const ResizedImage& image, const int8_t* in, int64_t row, int8_t* out);
void linear_row(const ResizedImage& image, const int8_t* in, int64_t row, int8_t* out);
void nearest_row_of_floats(const ResizedImage& image, const float* in, int64_t row, float* out);
void linear_row_of_floats(const ResizedImage& image, const float* in, int64_t row, float* out);

}  // namespace nq
