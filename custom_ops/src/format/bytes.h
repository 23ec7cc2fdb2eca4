// Little-endian reads from untrusted bytes; the caller has checked the extent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nq {

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "nq_tflite reads its packed levels as little-endian words"
#endif

struct ByteSpan {
  const uint8_t* data = nullptr;
  size_t size = 0;
};

template <typename T>
T load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

constexpr uint64_t align(uint64_t value, uint64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

}  // namespace nq
