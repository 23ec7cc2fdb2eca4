// Every kernel of this build that the CPU supports, against FORMAT.md and the reference.
#include "kernels/unpack/unpack.h"

#include <cstring>

#include "check.h"
#include "kernels/unpack/weight.h"
#include "naive_format.h"

namespace {

using nq::Layout;
using nq::OptionBlock;
using nq::PackedLevels;
using nq::UnpackKernel;
using nq_test::Bytes;

constexpr int kSizes[] = {1, 7, 15, 17, 31, 33, 65};

std::vector<const UnpackKernel*> supported_kernels() {
  std::vector<const UnpackKernel*> supported;
  for (const UnpackKernel* kernel : nq::kernels_of<nq::UnpackKernel>()) {
    if (kernel->supported()) supported.push_back(kernel);
  }
  return supported;
}

struct Packed {
  std::vector<Bytes> levels;
  const uint8_t* data[nq::kMaxLevels] = {};
};

Packed pack(const OptionBlock& block, const std::vector<int8_t>& codes) {
  Packed packed;
  for (int k = 0; k < block.num_levels; ++k) packed.levels.push_back(nq_test::pack_level(block, k, codes));
  for (int k = 0; k < block.num_levels; ++k) packed.data[k] = packed.levels[k].data();
  return packed;
}

std::vector<int8_t> expected_weight(const OptionBlock& block, const std::vector<int8_t>& codes, int level) {
  std::vector<int8_t> weight(codes.size());
  for (uint32_t c = 0; c < block.channels; ++c) {
    for (uint32_t i = 0; i < block.depth; ++i) {
      const int8_t code = codes[size_t{c} * block.depth + i];
      weight[nq_test::reader_index(block, c, i)] = nq_test::value_at_level(block, level, code, i);
    }
  }
  return weight;
}

template <typename Visit>
void for_each_split(const Visit& visit) {
  for (int full_bits = 3; full_bits <= 8; ++full_bits) {
    for (const auto& bits : nq_test::all_splits(full_bits)) {
      if (bits.size() <= nq::kMaxLevels) visit(bits);
    }
  }
}

// One bit of one weight at a time: exactly that bit comes back, at exactly that place.
void check_one_hot(const OptionBlock& block) {
  const int last = block.num_levels - 1;
  std::vector<int8_t> expected(size_t{block.channels} * block.depth), weight(expected.size());
  Packed packed = pack(block, expected);
  const auto set = [&](uint32_t c, uint32_t i, int8_t code) {
    for (int k = 0; k <= last; ++k) nq_test::pack_weight(block, k, c, i, code, &packed.levels[static_cast<size_t>(k)]);
    expected[nq_test::reader_index(block, c, i)] = code;
  };
  for (uint32_t c = 0; c < block.channels; ++c) {
    for (uint32_t i = 0; i < block.depth; ++i) {
      if (!nq_test::is_chosen()) continue;
      const uint32_t bit = 8 - block.full_bits + (c + i) % static_cast<uint32_t>(block.full_bits);
      set(c, i, static_cast<int8_t>(static_cast<uint8_t>(1u << bit)));
      for (const UnpackKernel* kernel : supported_kernels()) {
        nq::write_weight(*kernel, block, packed.data, last, weight.data());
        CHECK(weight == expected);
      }
      set(c, i, 0);
    }
  }
}

TEST(one_hot_at_every_place_of_every_split) {
  for_each_split([](const std::vector<int>& bits) {
    check_one_hot(nq_test::make_block(Layout::kMatrix, 17, 33, bits));
    check_one_hot(nq_test::make_block(Layout::kDepthwise, 65, 9, bits));
  });
}

TEST(odd_sizes_at_every_level) {
  std::mt19937 random(4);
  for (const int channels : kSizes) {
    for (const int depth : kSizes) {
      for (const Layout layout : {Layout::kMatrix, Layout::kDepthwise}) {
        for (const auto& bits : {std::vector<int>{5, 3}, {4, 2, 2}, {7, 1}, {3, 2}, {2, 1, 1, 1, 1, 1, 1}}) {
          const OptionBlock block =
              nq_test::make_block(layout, static_cast<uint32_t>(channels), static_cast<uint32_t>(depth), bits);
          const std::vector<int8_t> codes = nq_test::random_codes(block, &random);
          const Packed packed = pack(block, codes);
          for (const UnpackKernel* kernel : supported_kernels()) {
            for (int level = 0; level < block.num_levels; ++level) {
              std::vector<int8_t> weight(codes.size());
              nq::write_weight(*kernel, block, packed.data, level, weight.data());
              CHECK(weight == expected_weight(block, codes, level));
            }
          }
        }
      }
    }
  }
}

TEST(kernels_give_the_reference_s_bytes_on_random_lines) {
  std::mt19937 random(5);
  const auto kernels = supported_kernels();
  for_each_split([&](const std::vector<int>& bits) {
    const size_t num_superblocks = 1 + random() % 5, misalignment = random() % 8;
    std::vector<Bytes> lines;
    PackedLevels levels;
    for (const int level_bits : bits) {
      lines.emplace_back(misalignment + num_superblocks * static_cast<size_t>(level_bits) * 64);
      for (uint8_t& byte : lines.back()) byte = static_cast<uint8_t>(random());
    }
    for (size_t k = 0; k < bits.size(); ++k) {
      levels.bits[k] = bits[k];
      levels.data[k] = lines[k].data() + misalignment;
    }
    for (levels.num_levels = 1; levels.num_levels <= static_cast<int>(bits.size()); ++levels.num_levels) {
      nq::CellMiddle middle;
      const auto level = levels.num_levels - 1;
      middle = nq::cell_middle(nq_test::make_block(Layout::kDepthwise, 1, 3, bits), level, random() % 100);
      std::vector<int8_t> expected(num_superblocks * 512), got(num_superblocks * 512);
      kernels.front()->unpack(levels, middle, num_superblocks, expected.data());
      for (const UnpackKernel* kernel : kernels) {
        kernel->unpack(levels, middle, num_superblocks, got.data());
        CHECK(expected == got);
      }
    }
  });
}

// FORMAT.md, section 8.
TEST(worked_example) {
  const OptionBlock block = nq_test::make_block(Layout::kMatrix, 1, 2, {5, 3});
  Bytes level0(5 * 64), level1(3 * 64);
  level0[0] = 0x05;
  level0[1] = 0x0A;
  level0[4 * 64] = 0x01;
  level1[0] = 0x01;
  level1[1] = 0x03;
  const std::vector<int8_t> codes = {0x5A, -0x5A};
  CHECK(nq_test::pack_level(block, 0, codes) == level0);
  CHECK(nq_test::pack_level(block, 1, codes) == level1);
  const uint8_t* levels[] = {level0.data(), level1.data()};
  for (const UnpackKernel* kernel : supported_kernels()) {
    int8_t weight[2] = {};
    nq::write_weight(*kernel, block, levels, 1, weight);
    CHECK_EQ(0x5A, int{weight[0]});
    CHECK_EQ(0xA6, int{static_cast<uint8_t>(weight[1])});
    nq::write_weight(*kernel, block, levels, 0, weight);
    CHECK_EQ(0x5C, int{weight[0]});
    CHECK_EQ(0xA3, int{static_cast<uint8_t>(weight[1])});
  }
}

}  // namespace
