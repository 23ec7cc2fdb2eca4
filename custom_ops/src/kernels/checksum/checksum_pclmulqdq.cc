// Four blocks of 16 bytes at a time. Compiled for PCLMULQDQ.
#if defined(__x86_64__) || defined(__i386__)
#include "kernels/checksum/checksum.h"
#include "kernels/checksum/fold_x86.h"
#include "kernels/cpu.h"

namespace nq {
namespace {

uint32_t folded_crc32(const uint8_t* bytes, size_t size) {
  if (size < kStripeBytes) return crc32(bytes, size);
  __m128i blocks[kBlocks];
  for (size_t i = 0; i < kBlocks; ++i) blocks[i] = load_block(bytes + i * kBlockBytes);
  blocks[0] = _mm_xor_si128(blocks[0], _mm_set_epi32(0, 0, 0, -1));  // a checksum starts with ones
  return fold_rest(blocks, bytes + kStripeBytes, size - kStripeBytes);
}

}  // namespace

extern const ChecksumKernel checksum_pclmulqdq;
const ChecksumKernel checksum_pclmulqdq = {"pclmulqdq", has_pclmulqdq, folded_crc32};

}  // namespace nq
#endif
