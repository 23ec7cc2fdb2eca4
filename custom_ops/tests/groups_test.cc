// Group scales (FORMAT.md, 4.6) against direct computations, and every kernel against the first of them.
#include "kernels/groups/groups.h"

#include <cmath>
#include <cstring>

#include "check.h"
#include "layers/group_dense.h"
#include "naive_format.h"

namespace {

using nq::OptionBlock;
using nq_test::Bytes;

uint16_t random_scale(std::mt19937* random) {
  const auto bits = static_cast<uint16_t>(0x0400 + (*random)() % 0x7800);
  return (*random)() % 13 == 0 ? 0 : bits;
}

// By the definition of f16.
float real_of(uint16_t bits) {
  return bits == 0 ? 0.0f : std::ldexp(1.0f + static_cast<float>(bits & 1023) / 1024, (bits >> 10) - 15);
}

// A weight with everything that belongs to it, its scales near each other.
struct Weight {
  Weight(uint32_t channels, uint32_t depth, uint32_t group_size, const std::vector<int>& bits, std::mt19937* random)
      : block(nq_test::make_block(nq::Layout::kMatrix, channels, depth, bits)) {
    block.output_type = nq::OutputType::kFloat32;
    block.group_size = group_size;
    codes = nq_test::random_codes(block, random);
    for (int k = 0; k < block.num_levels; ++k) levels.push_back(nq_test::pack_level(block, k, codes));
    for (uint64_t i = 0; i < nq::num_group_scales(block); ++i) {
      const uint64_t a_block = uint64_t{nq::num_groups(block)} * 16, channel = i / a_block * 16 + i % 16;
      nq_test::put(&scales, channel < channels ? random_scale(random) % 0x1000 + 0x2000u : 0, 2);
    }
    for (uint32_t c = 0; c < channels; ++c) scale.push_back(std::ldexp(1.0f, -static_cast<int>(c % 5)));
  }

  float group_scale_of(uint32_t c, uint32_t i) const {
    const size_t at = (size_t{c / 16} * nq::num_groups(block) + i / block.group_size) * 16 + c % 16;
    return real_of(nq::load<uint16_t>(scales.data() + at * 2));
  }

  int8_t value(int level, uint32_t c, uint32_t i) const {
    return nq_test::value_at_level(block, level, codes[size_t{c} * block.depth + i], i);
  }

  nq::PackedWeight at(int level) const {
    nq::PackedWeight packed = {block, {}, level};
    for (int k = 0; k <= level; ++k) packed.levels[k] = levels[static_cast<size_t>(k)].data();
    return packed;
  }

  nq::NestedWeight nested() const {
    nq::NestedWeight weight;
    weight.block = block;
    for (size_t k = 0; k < levels.size(); ++k) weight.levels[k] = {levels[k].data(), levels[k].size()};
    return weight;
  }

  OptionBlock block;
  std::vector<int8_t> codes;
  std::vector<Bytes> levels;
  Bytes scales;
  std::vector<float> scale;
};

nq::Status check_with(uint16_t bits, size_t at) {
  std::mt19937 random(1);
  const Weight weight(17, 64, 32, {4, 4}, &random);
  Bytes scales = weight.scales;
  std::memcpy(scales.data() + at * 2, &bits, 2);
  return nq::check_group_scales({scales.data(), scales.size()}, weight.block);
}

TEST(scales_are_zero_or_normal_and_none_is_of_padding) {
  for (const uint16_t bits : {0x0000, 0x0400, 0x3C00, 0x7BFF}) CHECK_OK(check_with(bits, 5));
  for (const uint16_t bits : {0x0001, 0x03FF, 0x7C00, 0x7E00, 0x8000, 0xBC00, 0xFFFF}) {
    CHECK_FAILS(NQ_INVALID_MODEL, "positive, normal", check_with(bits, 5));
    CHECK_FAILS(NQ_INVALID_MODEL, "positive, normal", check_with(bits, 63));
  }
  CHECK_OK(check_with(0x3C00, 32));
  CHECK_FAILS(NQ_INVALID_MODEL, "belongs to no channel", check_with(0x3C00, 33));
  CHECK_FAILS(NQ_INVALID_MODEL, "belongs to no channel", check_with(0x0400, 63));
}

TEST(every_normal_scale_is_exact) {
  for (uint32_t bits = 0x0400; bits < 0x7C00; ++bits) {
    uint8_t bytes[2] = {static_cast<uint8_t>(bits), static_cast<uint8_t>(bits >> 8)};
    CHECK_EQ(real_of(static_cast<uint16_t>(bits)), nq::group_scale(bytes));
  }
}

void check_values(const Weight& weight) {
  const OptionBlock& block = weight.block;
  for (const nq::UnpackKernel* kernel : nq::kernels_of<nq::UnpackKernel>()) {
    if (!kernel->supported()) continue;
    for (int level = 0; level < block.num_levels; ++level) {
      const nq::GroupScales scales = {weight.scale.data(), weight.scales.data()};
      const nq::PackedWeight packed = weight.at(level);
      const uint32_t begin = block.channels / 3, end = block.channels - block.channels / 4;
      std::vector<float> all(weight.codes.size()), some(size_t{end - begin} * block.depth);
      nq::write_grouped_rows(*kernel, block, packed.levels, level, scales, {0, block.channels}, all.data());
      nq::write_grouped_rows(*kernel, block, packed.levels, level, scales, {begin, end}, some.data());
      CHECK_EQ(0, std::memcmp(some.data(), all.data() + size_t{begin} * block.depth, some.size() * sizeof(float)));
      std::vector<float> expected;
      for (uint32_t c = 0; c < block.channels; ++c) {
        for (uint32_t i = 0; i < block.depth; ++i) {
          expected.push_back(weight.scale[c] * weight.group_scale_of(c, i) *
                             static_cast<float>(weight.value(level, c, i)));
        }
      }
      CHECK(nq_test::same_outputs(std::string("groups' values ") + kernel->isa, expected, all));
    }
  }
}

TEST(values_are_scaled_codes) {
  std::mt19937 random(2);
  check_values(Weight(1, 32, 32, {5, 3}, &random));
  check_values(Weight(37, 384, 64, {4, 2, 2}, &random));
  check_values(Weight(16, 256, 128, {2, 1, 1}, &random));
}

struct Rows {
  Rows(const OptionBlock& block, int count, bool extreme, std::mt19937* random) : num_rows(count) {
    for (uint32_t i = 0; i < static_cast<uint32_t>(count) * block.depth; ++i) {
      codes.push_back(static_cast<int8_t>(extreme ? (i % 7 < 4 ? -128 : 127) : (*random)()));
    }
    scales.resize(size_t{nq::num_groups(block)} * static_cast<size_t>(count));
    for (float& scale : scales) scale = static_cast<float>((*random)() % 1000) / 997;
    for (size_t i = 0; i < scales.size(); ++i) {
      zero_points.push_back(extreme ? (i % 2 == 0 ? 127 : -128) : static_cast<int8_t>((*random)()));
    }
    sum(block.group_size);
  }

  void sum(size_t group_size) {
    sums.resize(scales.size() * nq::kGroupSums);
    for (size_t i = 0; i < scales.size(); ++i) {
      nq::sum_group(codes.data() + i * group_size, group_size, zero_points[i], sums.data() + i * nq::kGroupSums);
    }
  }

  int num_rows;
  std::vector<int8_t> codes;
  std::vector<float> scales;
  std::vector<int32_t> zero_points, sums;
};

struct Case {
  const Weight& weight;
  const Rows& rows;
  int level;

  float sum(uint32_t c, size_t row) const {
    const OptionBlock& block = weight.block;
    float sum = 0;
    for (uint32_t first = 0; first < block.depth; first += block.group_size) {
      int32_t dot = 0;
      const size_t group = (row * block.depth + first) / block.group_size;
      for (uint32_t i = first; i < first + block.group_size; ++i) {
        dot += weight.value(level, c, i) * (rows.codes[row * block.depth + i] - rows.zero_points[group]);
      }
      volatile float scale = weight.group_scale_of(c, first) * rows.scales[group];
      volatile float product = static_cast<float>(dot) * scale;
      sum = sum + product;
    }
    return sum;
  }

  std::vector<float> expected(float low, float high, const std::vector<float>& bias) const {
    std::vector<float> all;
    for (int r = 0; r < rows.num_rows; ++r) {
      for (uint32_t c = 0; c < weight.block.channels; ++c) {
        volatile float value = sum(c, static_cast<size_t>(r)) * weight.scale[c];
        value = value + bias[c];
        all.push_back(std::min(std::max(static_cast<float>(value), low), high));
      }
    }
    return all;
  }

  std::vector<float> got(const nq::GroupKernel& kernel, float low, float high, const std::vector<float>& bias) const {
    const OptionBlock& block = weight.block;
    const nq::PackedWeight packed = weight.at(level);
    std::vector<float> out(static_cast<size_t>(rows.num_rows) * block.channels);
    std::vector<uint8_t> memory(nq::group_scratch_bytes(block.depth) + 64);
    uint8_t* scratch = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
    const nq::GroupRows group_rows = {rows.codes.data(), rows.scales.data(), rows.sums.data(), block.depth,
                                      rows.num_rows};
    const auto padded = [](std::vector<float> channels) {
      channels.resize(nq::align(channels.size(), nq::kMatrixChannels));
      return channels;
    };
    const std::vector<float> scale = padded(weight.scale), offset = padded(bias);
    const nq::GroupDequantization to = {scale.data(), offset.data(), low, high};
    const uint32_t blocks = (block.channels + 15) / 16, half = blocks / 2;
    for (const auto& [first, count] : {std::pair(0u, half), std::pair(half, blocks - half)}) {
      nq::run_groups(kernel, {packed, weight.scales.data(), group_rows, first, count, scratch}, to, out.data());
    }
    return out;
  }
};

void check_kernels(const Weight& weight, const Rows& rows) {
  const nq::GroupKernel& scalar = **nq::kernels_of<nq::GroupKernel>().begin();
  std::vector<float> bias;
  for (uint32_t c = 0; c < weight.block.channels; ++c) bias.push_back(static_cast<float>(c % 9) - 4);
  for (int level = 0; level < weight.block.num_levels; ++level) {
    const Case test = {weight, rows, level};
    const std::vector<float> wanted = test.got(scalar, -1e4f, 1e4f, bias);
    if (rows.num_rows <= 3) {
      CHECK(nq_test::same_outputs("groups scalar", test.expected(-1e4f, 1e4f, bias), wanted));
    }
    for (const nq::GroupKernel* kernel : nq::kernels_of<nq::GroupKernel>()) {
      if (kernel == &scalar || !kernel->supported()) continue;
      CHECK(nq_test::same_outputs(std::string("groups ") + kernel->isa, wanted, test.got(*kernel, -1e4f, 1e4f, bias)));
    }
  }
}

TEST(kernels_give_the_specifications_bytes) {
  std::mt19937 random(3);
  for (const std::vector<int>& bits : {std::vector<int>{4, 4}, {2, 1, 1}, {4, 2, 2}, {5, 3}, {4, 1}, {3, 1}, {4, 3}}) {
    for (const uint32_t group_size : {32u, 64u, 128u}) {
      for (const uint32_t channels : {1u, 16u, 33u}) {
        const Weight weight(channels, group_size * (channels == 16 ? 5 : 2), group_size, bits, &random);
        for (const int num_rows : {1, 2, 3, 4, 5, 7, 8, 9, 17}) {
          check_kernels(weight, Rows(weight.block, num_rows, false, &random));
        }
        check_kernels(weight, Rows(weight.block, 2, true, &random));
      }
    }
  }
}

// The least and the greatest products, which sums of 16 bits have no room for.
TEST(kernels_hold_the_largest_sums) {
  std::mt19937 random(4);
  for (const int code : {-128, -127, 127, -8, 7, 0x70, -16}) {
    Weight weight(16, 256, 128, {4, 4}, &random);
    for (int8_t& each : weight.codes) each = static_cast<int8_t>(code);
    for (int k = 0; k < 2; ++k)
      weight.levels[static_cast<size_t>(k)] = nq_test::pack_level(weight.block, k, weight.codes);
    Rows rows(weight.block, 3, false, &random);
    for (const int activation : {-128, 127}) {
      std::fill(rows.codes.begin(), rows.codes.end(), static_cast<int8_t>(activation));
      std::fill(rows.zero_points.begin(), rows.zero_points.end(), -1 - activation);
      rows.sum(128);
      check_kernels(weight, rows);
    }
  }
}

// Groups apart by a factor of a thousand keep their precision: with one scale for the row, the small ones would be
// lost.
TEST(a_layer_quantizes_each_group_by_itself) {
  std::mt19937 random(6);
  Weight weight(20, 96, 32, {4, 4}, &random);
  const nq::NestedWeight nested = weight.nested();
  const nq::FloatParameters parameters = {nq::Grouping::kRow, weight.scale.data(), nullptr, -1e9f, 1e9f};
  std::vector<float> input(size_t{96} * 3);
  for (size_t i = 0; i < input.size(); ++i) {
    const float size = i / 32 % 3 == 1 ? 1000.0f : 1.0f;
    input[i] = size * (static_cast<float>(random() % 2001) / 1000 - 1);
  }
  std::fill(weight.scales.begin() + 32, weight.scales.begin() + 64, uint8_t{0});  // the large ones count for nothing
  nq::ThreadPool pool;
  const nq::QuantizeKernel& quantize = **nq::kernels_of<nq::QuantizeKernel>().begin();
  const nq::GroupKernel& scalar = **nq::kernels_of<nq::GroupKernel>().begin();
  nq::GroupDense layer(scalar, quantize, nested, parameters, weight.scales.data());
  std::vector<float> out(size_t{20} * 3);
  layer.run(1, input.data(), 3, out.data(), &pool);
  for (size_t r = 0; r < 3; ++r) {
    for (uint32_t c = 0; c < 16; ++c) {
      double wanted = 0, most = 0;  // half a step of 2 / 255 for each input
      for (uint32_t i = 0; i < 96; ++i) {
        const double value = double{weight.scale[c]} * weight.group_scale_of(c, i) * weight.value(1, c, i);
        wanted += value * input[r * 96 + i];
        most += std::abs(value) / 255 * 1.001;
      }
      CHECK(std::abs(out[r * 20 + c] - wanted) <= most);
    }
  }
}

// What the first layer has quantized lies where the second one looks for it.
TEST(a_layer_reuses_the_rows_of_another) {
  std::mt19937 random(7);
  const Weight query(24, 128, 32, {4, 4}, &random), key(40, 128, 32, {5, 3}, &random);
  const nq::QuantizeKernel& quantize = **nq::kernels_of<nq::QuantizeKernel>().begin();
  const nq::GroupKernel& scalar = **nq::kernels_of<nq::GroupKernel>().begin();
  std::vector<float> input(size_t{128} * 7);
  for (float& value : input) value = static_cast<float>(random() % 1000) / 500 - 1;
  nq::ThreadPool pool;
  const auto run = [&](const Weight& weight, bool reuses) {
    const nq::NestedWeight nested = weight.nested();
    const nq::FloatParameters parameters = {nq::Grouping::kRow, weight.scale.data(), nullptr, -1e9f, 1e9f};
    nq::GroupDense layer(scalar, quantize, nested, parameters, weight.scales.data());
    if (reuses) layer.reuse_rows();
    std::vector<float> out(size_t{weight.block.channels} * 7), nowhere(input.size());
    layer.run(1, reuses ? nowhere.data() : input.data(), 7, out.data(), &pool);
    return out;
  };
  const std::vector<float> wanted = run(key, false);
  run(query, false);
  CHECK(nq_test::same_outputs("groups' rows reused", wanted, run(key, true)));
}

TEST(a_layer_gives_the_same_bytes_on_any_number_of_threads) {
  std::mt19937 random(5);
  Weight weight(600, 192, 32, {4, 4}, &random);
  const nq::NestedWeight nested = weight.nested();
  const std::vector<float> bias(600, 0.5f);
  const nq::FloatParameters parameters = {nq::Grouping::kRow, weight.scale.data(), bias.data(), -100, 100};
  std::vector<float> input(size_t{192} * 5);
  for (float& value : input) value = static_cast<float>(random() % 1000) / 500 - 1;
  input[192 * 3 + 7] = std::nanf("");
  std::vector<float> first;
  const nq::QuantizeKernel& quantize = **nq::kernels_of<nq::QuantizeKernel>().begin();
  for (const nq::GroupKernel* kernel : nq::kernels_of<nq::GroupKernel>()) {
    if (!kernel->supported()) continue;
    nq::GroupDense layer(*kernel, quantize, nested, parameters, weight.scales.data());
    for (const int threads : {1, 2, 3}) {
      nq::ThreadPool pool;
      pool.resize(threads);
      std::vector<float> out(size_t{600} * 5);
      layer.run(0, input.data(), 5, out.data(), &pool);
      if (first.empty()) first = out;
      CHECK_EQ(0, std::memcmp(first.data(), out.data(), out.size() * sizeof(float)));
      for (size_t c = 0; c < 600; ++c) CHECK(std::isnan(out[600 * 3 + c]) && !std::isnan(out[600 * 4 + c]));
    }
  }
}

}  // namespace
