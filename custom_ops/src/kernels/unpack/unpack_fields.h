// One block's bits of a level, in vectors of NQ_VECTOR_BYTES, which the including file defines. Textual, as
// unpack_words.h is. The vectors are the compilers' own (GCC and Clang), which every target has: loops over words are
// vectorized by some versions and not by others.
#pragma once

#include <cstring>

#include "kernels/unpack/unpack.h"

namespace nq {
namespace {

using Vector = uint64_t __attribute__((vector_size(NQ_VECTOR_BYTES)));

constexpr uint64_t repeat_byte(unsigned byte) { return 0x0101010101010101u * uint64_t{byte}; }

inline void load_vector(const void* bytes, Vector* vector) { std::memcpy(vector, bytes, sizeof(Vector)); }
inline void store_vector(const Vector& vector, void* bytes) { std::memcpy(bytes, &vector, sizeof(Vector)); }

template <int kWidth, int kBlock, int kPosition>
inline Vector field(const uint8_t* plane) {
  constexpr uint64_t kMask = repeat_byte(((1u << kWidth) - 1) << kPosition);
  constexpr int kLine = kBlock * kWidth / 8, kShift = kBlock * kWidth % 8;
  Vector line;
  load_vector(plane + kLine * kLineBytes, &line);
  if constexpr (kPosition >= kShift) {
    return (line << (kPosition - kShift)) & kMask;
  } else {
    return (line >> (kShift - kPosition)) & kMask;
  }
}

template <int kBits, int kBlock, int kPosition>
inline Vector level_bits(const uint8_t* superblock) {
  Vector bits = {};
  if constexpr ((kBits & 4) != 0) bits |= field<4, kBlock, kPosition + (kBits & 3)>(superblock);
  if constexpr ((kBits & 2) != 0) {
    bits |= field<2, kBlock, kPosition + (kBits & 1)>(superblock + (kBits & 4) * kLineBytes);
  }
  if constexpr ((kBits & 1) != 0) bits |= field<1, kBlock, kPosition>(superblock + (kBits & 6) * kLineBytes);
  return bits;
}

}  // namespace
}  // namespace nq
