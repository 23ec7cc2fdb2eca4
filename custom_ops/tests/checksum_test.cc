#include "kernels/checksum/checksum.h"

#include <string>

#include "check.h"
#include "format/crc32.h"
#include "guarded.h"
#include "naive_format.h"

namespace {

template <typename Check>
void for_each_kernel(const Check& check) {
  for (const nq::ChecksumKernel* kernel : nq::kernels_of<nq::ChecksumKernel>()) {
    if (kernel->supported()) check(*kernel);
  }
}

nq_test::Bytes random_bytes(size_t size) {
  std::mt19937 random(1);
  nq_test::Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

TEST(check_value) {
  for_each_kernel([](const nq::ChecksumKernel& kernel) {
    CHECK_EQ(0xCBF43926u, kernel.crc32(reinterpret_cast<const uint8_t*>("123456789"), 9));
    CHECK_EQ(0u, kernel.crc32(nullptr, 0));
  });
}

// Past all steps of all kernels but the streams of Arm's.
TEST(every_length_at_every_alignment_agrees_with_the_tables) {
  constexpr size_t kLengths = 700, kAlignments = 65;
  const nq_test::Bytes bytes = random_bytes(kLengths + kAlignments);
  for_each_kernel([&](const nq::ChecksumKernel& kernel) {
    for (size_t start = 0; start < kAlignments; start += start < 17 ? 1 : 16) {
      for (size_t size = 0; size <= kLengths; ++size) {
        CHECK_EQ(nq::crc32(bytes.data() + start, size), kernel.crc32(bytes.data() + start, size));
      }
    }
  });
}

TEST(no_byte_is_read_behind_the_last) {
  const nq_test::Bytes bytes = random_bytes(700);
  for_each_kernel([&](const nq::ChecksumKernel& kernel) {
    for (size_t size = 1; size <= bytes.size(); ++size) {
      const nq_test::Guarded<uint8_t> guarded(nq_test::Bytes(bytes.begin(), bytes.begin() + static_cast<long>(size)));
      CHECK_EQ(nq::crc32(bytes.data(), size), kernel.crc32(guarded.begin(), size));
    }
  });
}

TEST(long_messages_agree_with_the_tables) {
  const nq_test::Bytes bytes = random_bytes((1 << 20) + 333);
  for_each_kernel([&](const nq::ChecksumKernel& kernel) {
    for (const size_t size :
         {size_t{4096}, size_t{49151}, size_t{49152}, size_t{49153}, size_t{98304}, size_t{147459}, bytes.size() - 3}) {
      for (const size_t start : {0, 1, 3}) {
        CHECK_EQ(nq::crc32(bytes.data() + start, size), kernel.crc32(bytes.data() + start, size));
      }
    }
  });
}

TEST(zeros_and_ones_agree_with_the_tables) {
  for (const uint8_t byte : {0x00, 0xFF}) {
    const nq_test::Bytes bytes(60000, byte);
    for_each_kernel([&](const nq::ChecksumKernel& kernel) {
      for (const size_t size : {1, 64, 65, 255, 256, 1024, 60000}) {
        CHECK_EQ(nq::crc32(bytes.data(), size), kernel.crc32(bytes.data(), size));
      }
    });
  }
}

}  // namespace
