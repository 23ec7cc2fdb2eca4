// Quantization of one tensor and the roundings that several layers share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace nq {

// real = scale * (code - zero_point)
struct Quantization {
  float scale = 1;
  int32_t zero_point = 0;
};

struct ActivationRange {
  int8_t low = -128, high = 127;
};

// The nearest integer, the even one of two, clamped to 16 bits. Compilers vectorize it as they do not std::lrint.
inline int32_t round_to_int16(float value) {
  constexpr float kOneAndAHalfTimes2To23 = 12582912.0f;  // added, it leaves the integer in the lower bits
  value = value < 32767.0f ? value : 32767.0f;           // also what is not a number, as XNNPACK has it
  value = std::max(value, -32768.0f) + kOneAndAHalfTimes2To23;
  int32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits - 0x4B400000;
}

inline int8_t clamp_to_int8(int32_t code, int32_t low = -128, int32_t high = 127) {
  return static_cast<int8_t>(std::min(std::max(code, low), high));
}

}  // namespace nq
