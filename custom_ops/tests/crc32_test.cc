#include "format/crc32.h"

#include "check.h"
#include "naive_format.h"

namespace {

TEST(check_value) {
  const auto* digits = reinterpret_cast<const uint8_t*>("123456789");
  CHECK_EQ(0xCBF43926u, nq::crc32(digits, 9));
  CHECK_EQ(0u, nq::crc32(digits, 0));
}

TEST(every_length_and_alignment_agrees_with_the_polynomial) {
  std::mt19937 random(1);
  nq_test::Bytes bytes(200);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  for (size_t start = 0; start < 9; ++start) {
    for (size_t size = 0; start + size <= bytes.size(); ++size) {
      CHECK_EQ(nq_test::naive_crc32(bytes.data() + start, size), nq::crc32(bytes.data() + start, size));
    }
  }
}

}  // namespace
