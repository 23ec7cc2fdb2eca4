// Textual for kernel files: internal linkage, as in unpack_words.h.
#pragma once

#include <cmath>

#include "kernels/requantize/requantization.h"

namespace nq {
namespace {

// The specification. The clamp comes first, so that no value is too large for the conversion.
inline int8_t requantize_scalar(int32_t sum, const Requantization& requantization, uint32_t channel) {
  const float low = static_cast<float>(requantization.low - requantization.zero_point);
  const float high = static_cast<float>(requantization.high - requantization.zero_point);
  float scaled = static_cast<float>(sum) * requantization.multiplier[channel];
  scaled = scaled < low ? low : scaled;
  scaled = scaled > high ? high : scaled;
  return static_cast<int8_t>(static_cast<int32_t>(std::nearbyint(scaled)) + requantization.zero_point);
}

inline float dequantize_scalar(int32_t sum, const Dequantization& dequantization, size_t row, uint32_t channel) {
  const Dequantization of_row = dequantization.from_row(row);
  const auto offset = static_cast<uint32_t>(*of_row.zero_point);
  const auto centred = static_cast<uint32_t>(sum) - offset * static_cast<uint32_t>(dequantization.weight_sum[channel]);
  const float scale = *of_row.row_scale * dequantization.scale[channel];
  const float value = static_cast<float>(static_cast<int32_t>(centred)) * scale + dequantization.bias[channel];
  const float raised = value < dequantization.low ? dequantization.low : value;
  return raised > dequantization.high ? dequantization.high : raised;
}

}  // namespace
}  // namespace nq
