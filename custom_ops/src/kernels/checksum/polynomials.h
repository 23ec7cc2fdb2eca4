// Polynomials over GF(2) modulo that of CRC-32, in 32 bits, reflected: the highest bit is the coefficient of x^0.
#pragma once

#include <cstdint>

namespace nq {

constexpr uint32_t times_x(uint32_t a) { return a >> 1 ^ (a & 1 ? 0xEDB88320u : 0); }

constexpr uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (int bit = 31; bit >= 0; --bit, b = times_x(b)) {
    if (a >> bit & 1) product ^= b;
  }
  return product;
}

constexpr uint32_t power_of_x(uint64_t exponent) {
  uint32_t power = 1u << 31;
  for (uint32_t square = 1u << 30; exponent > 0; exponent >>= 1, square = multiply(square, square)) {
    if (exponent & 1) power = multiply(power, square);
  }
  return power;
}

}  // namespace nq
