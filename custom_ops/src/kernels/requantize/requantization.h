// From a kernel's int32 sums to a layer's output. Sums wrap around.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nq {

// out = clamp(round_half_even(float(sum) * multiplier[c]) + zero_point, low, high): XNNPACK's float requantization,
// to the bit.
struct Requantization {
  const float* multiplier;  // padded to a multiple of 64 channels
  int32_t zero_point;
  int8_t low, high;
  bool shrinks = false;  // no multiplier is 1 or more, so that a scaled sum stays within int32
  bool fits_16 = false;  // whatever the activations are, each scaled sum is less than 32767 in size

  Requantization from_channel(uint32_t channel) const {
    return {multiplier + channel, zero_point, low, high, shrinks, fits_16};
  }
  Requantization from_row(size_t) const { return *this; }
};

// out = clamp(float(sum - zero_point[r] * weight_sum[c]) * (row_scale[r] * scale[c]) + bias[c], low, high), each
// operation rounded by itself: for activations that were quantized at run time, each row in its own way.
struct Dequantization {
  const float* row_scale;
  const int32_t* zero_point;
  const int32_t* weight_sum;  // these three are padded to a multiple of 64 channels
  const float* scale;
  const float* bias;
  float low, high;
  size_t row_step = 1;  // of row_scale and zero_point; 0 where all rows have the same

  Dequantization from_channel(uint32_t channel) const {
    return {row_scale, zero_point, weight_sum + channel, scale + channel, bias + channel, low, high, row_step};
  }
  Dequantization from_row(size_t row) const {
    return {row_scale + row * row_step, zero_point + row * row_step, weight_sum, scale, bias, low, high, row_step};
  }
};

}  // namespace nq
