#include "format/option_block.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "naive_format.h"

namespace {

using nq::Layout;
using nq::OptionBlock;
using nq::Status;
using nq_test::Bytes;

OptionBlock example() {
  OptionBlock block = nq_test::make_block(Layout::kMatrix, 20, 45, {4, 2, 2});
  block.has_bias = true;
  for (int k = 0; k < 3; ++k) block.levels[k] = {64u * (k + 1), block.levels[k].bits, 0.5f * (2 - k)};
  return block;
}

// A copy without slack behind it, so that a sanitizer sees a read beyond the end.
Status parse(const Bytes& bytes, OptionBlock* block) {
  const Bytes exact(bytes);
  return nq::parse_option_block({exact.data(), exact.size()}, block);
}

Status parse_changed(size_t offset, uint64_t value, int size) {
  Bytes bytes = nq_test::option_bytes(example());
  std::memcpy(bytes.data() + offset, &value, static_cast<size_t>(size));
  OptionBlock block;
  return parse(bytes, &block);
}

TEST(reads_every_field) {
  OptionBlock block;
  CHECK_OK(parse(nq_test::option_bytes(example()), &block));
  CHECK(block.has_bias);
  CHECK(block.layout == Layout::kMatrix);
  CHECK(block.output_type == nq::OutputType::kInt8);
  CHECK_EQ(8, block.full_bits);
  CHECK_EQ(3, block.num_levels);
  CHECK_EQ(20u, block.channels);
  CHECK_EQ(45u, block.depth);
  for (int k = 0; k < 3; ++k) {
    CHECK_EQ(64u * (k + 1), block.levels[k].offset);
    CHECK_EQ(k == 0 ? 4 : 2, block.levels[k].bits);
    CHECK_EQ(0.5f * (2 - k), block.levels[k].bias_step);
  }
}

OptionBlock grouped_example() {
  OptionBlock block = nq_test::make_block(Layout::kMatrix, 20, 192, {4, 4});
  block.output_type = nq::OutputType::kFloat32;
  block.group_size = 64;
  return block;
}

Status parse_changed_groups(size_t offset, uint32_t value, int size) {
  Bytes bytes = nq_test::option_bytes(grouped_example());
  std::memcpy(bytes.data() + offset, &value, static_cast<size_t>(size));
  OptionBlock block;
  return parse(bytes, &block);
}

TEST(reads_group_sizes) {
  OptionBlock block;
  const Bytes bytes = nq_test::option_bytes(grouped_example());
  CHECK_EQ(1, bytes[6]);  // minor version
  CHECK_OK(parse(bytes, &block));
  CHECK_EQ(64u, block.group_size);
  CHECK_EQ(3u, nq::num_groups(block));
  CHECK_EQ(2u * 3 * 16, nq::num_group_scales(block));
  CHECK_OK(parse(nq_test::option_bytes(example()), &block));
  CHECK_EQ(0u, block.group_size);
}

TEST(refuses_groups_that_the_format_does_not_have) {
  for (const uint32_t size : {0u, 16u, 33u, 96u, 256u, 0xFFFFFFFFu}) {
    CHECK_FAILS(NQ_INVALID_MODEL, "expected 32, 64 or 128", parse_changed_groups(28, size, 4));
  }
  CHECK_FAILS(NQ_INVALID_MODEL, "a divisor of the depth", parse_changed_groups(28, 128, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "a divisor of the depth 191", parse_changed_groups(24, 191, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "expected 1 (matrix) and 0 (FLOAT32)", parse_changed_groups(16, 2, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "expected 1 (matrix) and 0 (FLOAT32)", parse_changed_groups(17, 9, 1));
}

TEST(sizes_of_levels) {
  OptionBlock block = example();  // 2 x 2 superblocks, a line of bias deltas at levels 0 and 1
  CHECK_EQ(4u, nq::num_superblocks(block));
  CHECK_EQ(64u * 4 * 4, nq::packed_bytes(block, 0));
  CHECK_EQ(64u * 4 * 4 + 64, nq::level_bytes(block, 0));
  CHECK_EQ(64u * 2 * 4 + 64, nq::level_bytes(block, 1));
  CHECK_EQ(64u * 2 * 4, nq::level_bytes(block, 2));
  block.layout = Layout::kDepthwise;  // 45 blocks
  CHECK_EQ(6u, nq::num_superblocks(block));
  block.channels = 65;  // 90 blocks
  CHECK_EQ(12u, nq::num_superblocks(block));
}

TEST(every_split_parses) {
  for (int full_bits = 3; full_bits <= 8; ++full_bits) {
    for (const auto& bits : nq_test::all_splits(full_bits)) {
      OptionBlock block;
      const OptionBlock written = nq_test::make_block(Layout::kDepthwise, 3, 9, bits);
      const Status status = parse(nq_test::option_bytes(written), &block);
      CHECK_EQ(bits.size() <= 7, status.ok());
      CHECK_EQ(full_bits, nq::used_bits(written, static_cast<int>(bits.size()) - 1));
    }
  }
}

TEST(truncated_at_every_length) {
  const Bytes whole = nq_test::option_bytes(example());
  for (size_t size = 0; size < whole.size(); ++size) {
    OptionBlock block;
    CHECK_EQ(NQ_INVALID_MODEL, parse(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)), &block).code());
  }
}

TEST(bytes_behind_the_block_are_a_viewers) {
  Bytes bytes = nq_test::option_bytes(example());
  bytes.insert(bytes.end(), 50, 0xAB);
  OptionBlock block;
  CHECK_OK(parse(bytes, &block));
}

TEST(versions) {
  CHECK_FAILS(NQ_INVALID_MODEL, "version 2", parse_changed(4, 2, 2));
  CHECK_FAILS(NQ_INVALID_MODEL, "version 0", parse_changed(4, 0, 2));
  CHECK_OK(parse_changed(6, 7, 2));
  Bytes longer = nq_test::option_bytes(example());
  longer[6] = 1;
  longer[8] = static_cast<uint8_t>(longer[8] + 8);
  longer.insert(longer.end(), 8, 0xFF);
  OptionBlock block;
  CHECK_OK(parse(longer, &block));
}

TEST(flags_and_reserved_fields) {
  CHECK_FAILS(NQ_INVALID_MODEL, "flags 0x8004", parse_changed(12, 0x8005, 4));
  CHECK_OK(parse_changed(12, 0x70000001, 4));
  CHECK_OK(parse_changed(28, 0xFFFFFFFF, 4));
  CHECK_OK(parse_changed(41, 0xFFFFFF, 3));
}

TEST(forbidden) {
  CHECK_FAILS(NQ_INVALID_MODEL, "NQOP", parse_changed(0, 'n', 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 79 bytes", parse_changed(8, 79, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 81 bytes", parse_changed(8, 81, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "claims 4294967295 bytes", parse_changed(8, 0xFFFFFFFF, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "layout is 0", parse_changed(16, 0, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "layout is 3", parse_changed(16, 3, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "output type is 1", parse_changed(17, 1, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "bit-width is 2", parse_changed(18, 2, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "bit-width is 9", parse_changed(18, 9, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "8 bits in all; expected 7", parse_changed(18, 7, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "levels is 1", parse_changed(19, 1, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "levels is 8", parse_changed(19, 8, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "levels is 255", parse_changed(19, 255, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "0 channels", parse_changed(20, 0, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "of 0 weights", parse_changed(24, 0, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "2^31", parse_changed(24, 0x80000000u / 20 + 1, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "2^31", parse_changed(24, 0xFFFFFFFF, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "multiple of 64", parse_changed(32, 65, 8));
  CHECK_FAILS(NQ_INVALID_MODEL, "level 0 has 1 bits", parse_changed(40, 1, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "level 1 has 0 bits", parse_changed(56, 0, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "level 1 has 8 bits", parse_changed(56, 8, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "9 bits in all", parse_changed(56, 3, 1));
  const float infinity = std::numeric_limits<float>::infinity();
  uint32_t bits = 0;
  std::memcpy(&bits, &infinity, sizeof(bits));
  CHECK_FAILS(NQ_INVALID_MODEL, "bias step", parse_changed(44, bits, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "bias step", parse_changed(44, bits + 1, 4));
  CHECK_FAILS(NQ_INVALID_MODEL, "not negative", parse_changed(47, 0xBF, 1));
  CHECK_FAILS(NQ_INVALID_MODEL, "without the BIAS flag", parse_changed(12, 0, 4));
}

TEST(random_changes_give_a_valid_block_or_an_error) {
  std::mt19937 random(2);
  const Bytes whole = nq_test::option_bytes(example());
  for (int round = 0; round < 200000; ++round) {
    Bytes bytes = whole;
    for (unsigned change = random() % 4; change < 4; ++change) {
      bytes[random() % bytes.size()] ^= static_cast<uint8_t>(1u << random() % 8);
    }
    OptionBlock block;
    if (!parse(bytes, &block).ok()) continue;
    CHECK(block.num_levels >= 2 && block.num_levels <= 7);
    CHECK_EQ(block.full_bits, nq::used_bits(block, block.num_levels - 1));
    CHECK(nq::level_bytes(block, 0) < uint64_t{1} << 40);
  }
}

}  // namespace
