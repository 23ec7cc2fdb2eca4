// By the CRC-32 instructions of Armv8, which take several cycles each: three streams run side by side. Compiled for
// them.
#if defined(NQ_CRC32)
#include <arm_acle.h>

#include "format/bytes.h"
#include "kernels/checksum/checksum.h"
#include "kernels/checksum/polynomials.h"
#include "kernels/cpu.h"

namespace nq {
namespace {

constexpr size_t kStreamBytes = 16384;
constexpr uint32_t kOneStreamOn = power_of_x(8 * kStreamBytes);  // what so many zero bytes multiply a checksum by

uint32_t update_by_8(uint32_t crc, const uint8_t* bytes) { return __crc32d(crc, load<uint64_t>(bytes)); }

uint32_t update_by_streams(uint32_t first, const uint8_t* bytes) {
  uint32_t second = 0, third = 0;
  for (const uint8_t* end = bytes + kStreamBytes; bytes < end; bytes += 8) {
    first = update_by_8(first, bytes);
    second = update_by_8(second, bytes + kStreamBytes);
    third = update_by_8(third, bytes + 2 * kStreamBytes);
  }
  return multiply(kOneStreamOn, multiply(kOneStreamOn, first) ^ second) ^ third;
}

uint32_t instructed_crc32(const uint8_t* bytes, size_t size) {
  uint32_t crc = 0xFFFFFFFFu;
  for (; size >= 3 * kStreamBytes; bytes += 3 * kStreamBytes, size -= 3 * kStreamBytes) {
    crc = update_by_streams(crc, bytes);
  }
  for (; size >= 8; bytes += 8, size -= 8) crc = update_by_8(crc, bytes);
  for (; size > 0; ++bytes, --size) crc = __crc32b(crc, *bytes);
  return ~crc;
}

}  // namespace

extern const ChecksumKernel checksum_crc32;
const ChecksumKernel checksum_crc32 = {"crc32", has_crc32, instructed_crc32};

}  // namespace nq
#endif
