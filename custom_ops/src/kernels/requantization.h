#pragma once

#include <cstdint>

namespace nq {

// out = clamp(round_half_even(float(acc) * multiplier[c]) + zero_point, low, high): XNNPACK's float requantization,
// to the bit. The int32 accumulator wraps around.
struct Requantization {
  const float* multiplier;  // padded to a multiple of 64 channels
  int32_t zero_point;
  int8_t low, high;
};

}  // namespace nq
