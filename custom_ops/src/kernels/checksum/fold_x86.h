// Folding by carry-less multiplication (Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ",
// Intel 2009): 16 bytes times x^distance modulo the polynomial may stand for themselves that far on in the message.
//
// What is left in the end is 16 bytes with the message's checksum, which the tables tell: no reduction of its own.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "format/crc32.h"
#include "kernels/checksum/polynomials.h"

namespace nq {
namespace {

constexpr size_t kBlocks = 4, kBlockBytes = 16, kStripeBytes = kBlocks * kBlockBytes;

// Of the halves of a block that moves by so many bits; products of reflected polynomials are one bit short.
constexpr int64_t fold_factor(uint64_t bits) { return static_cast<int64_t>(uint64_t{power_of_x(bits)} << 1); }
constexpr int64_t first_half_factor(uint64_t distance) { return fold_factor(distance + 32); }
constexpr int64_t second_half_factor(uint64_t distance) { return fold_factor(distance - 32); }

template <uint64_t kDistance>
__m128i fold_block(__m128i block) {
  const __m128i factors = _mm_set_epi64x(second_half_factor(kDistance), first_half_factor(kDistance));
  return _mm_xor_si128(_mm_clmulepi64_si128(block, factors, 0x00), _mm_clmulepi64_si128(block, factors, 0x11));
}

// The line a page ahead: the CPU's own prefetching ends at every page's end, and folding is faster than memory.
inline void prefetch_stripe(const uint8_t* bytes) {
  _mm_prefetch(reinterpret_cast<const char*>(bytes + 4096), _MM_HINT_T0);
}

inline __m128i load_block(const uint8_t* bytes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes)); }

// The checksum of a message whose first stripe's place `blocks` have taken.
inline uint32_t fold_rest(__m128i (&blocks)[kBlocks], const uint8_t* bytes, size_t size) {
  for (; size >= kStripeBytes; bytes += kStripeBytes, size -= kStripeBytes) {
    prefetch_stripe(bytes);
    for (size_t i = 0; i < kBlocks; ++i) {
      blocks[i] = _mm_xor_si128(fold_block<8 * kStripeBytes>(blocks[i]), load_block(bytes + i * kBlockBytes));
    }
  }
  __m128i last = blocks[0];
  for (size_t i = 1; i < kBlocks; ++i) last = _mm_xor_si128(fold_block<8 * kBlockBytes>(last), blocks[i]);
  for (; size >= kBlockBytes; bytes += kBlockBytes, size -= kBlockBytes) {
    last = _mm_xor_si128(fold_block<8 * kBlockBytes>(last), load_block(bytes));
  }
  uint8_t remainder[kBlockBytes];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(remainder), last);
  return ~update_crc32(update_crc32(0, remainder, kBlockBytes), bytes, size);
}

}  // namespace
}  // namespace nq
