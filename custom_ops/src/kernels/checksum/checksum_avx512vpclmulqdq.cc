// Four stripes of four blocks at a time. Compiled for AVX-512 and VPCLMULQDQ.
#if defined(__x86_64__) || defined(__i386__)
#include "kernels/checksum/checksum.h"
#include "kernels/checksum/fold_x86.h"
#include "kernels/cpu.h"

namespace nq {
namespace {

constexpr size_t kStripes = 4, kStepBytes = kStripes * kStripeBytes;

template <uint64_t kDistance>
__m512i fold_stripe(__m512i stripe, __m512i onto) {
  const __m512i factors =
      _mm512_broadcast_i32x4(_mm_set_epi64x(second_half_factor(kDistance), first_half_factor(kDistance)));
  const __m512i first = _mm512_clmulepi64_epi128(stripe, factors, 0x00);
  const __m512i second = _mm512_clmulepi64_epi128(stripe, factors, 0x11);
  return _mm512_ternarylogic_epi64(first, second, onto, 0x96);  // exclusive or of the three
}

uint32_t folded_crc32(const uint8_t* bytes, size_t size) {
  if (size < kStepBytes) return crc32(bytes, size);
  __m512i stripes[kStripes];
  for (size_t i = 0; i < kStripes; ++i) stripes[i] = _mm512_loadu_si512(bytes + i * kStripeBytes);
  stripes[0] = _mm512_xor_si512(stripes[0], _mm512_maskz_set1_epi32(1, -1));  // a checksum starts with ones
  for (bytes += kStepBytes, size -= kStepBytes; size >= kStepBytes; bytes += kStepBytes, size -= kStepBytes) {
    for (size_t i = 0; i < kStripes; ++i) {
      prefetch_stripe(bytes + i * kStripeBytes);
      stripes[i] = fold_stripe<8 * kStepBytes>(stripes[i], _mm512_loadu_si512(bytes + i * kStripeBytes));
    }
  }
  __m512i last = stripes[0];
  for (size_t i = 1; i < kStripes; ++i) last = fold_stripe<8 * kStripeBytes>(last, stripes[i]);
  __m128i blocks[kBlocks] = {_mm512_extracti32x4_epi32(last, 0), _mm512_extracti32x4_epi32(last, 1),
                             _mm512_extracti32x4_epi32(last, 2), _mm512_extracti32x4_epi32(last, 3)};
  return fold_rest(blocks, bytes, size);
}

}  // namespace

extern const ChecksumKernel checksum_avx512vpclmulqdq;
const ChecksumKernel checksum_avx512vpclmulqdq = {"avx512vpclmulqdq", has_avx512vpclmulqdq, folded_crc32};

}  // namespace nq
#endif
