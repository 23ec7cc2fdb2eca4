// Scales and bias corrections (FORMAT.md, 4.5); the order of weights is unpack_test's.
#include "kernels/unpack/weight.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "check.h"
#include "naive_format.h"

namespace {

using nq::Layout;
using nq::OptionBlock;
using nq_test::Bytes;

// A level buffer with these corrections and no packed weights to speak of.
Bytes with_deltas(const OptionBlock& block, const std::vector<int>& deltas) {
  Bytes bytes(nq::packed_bytes(block, 0));
  for (const int delta : deltas) bytes.push_back(static_cast<uint8_t>(delta));
  return bytes;
}

OptionBlock bias_block(uint32_t channels, float step) {
  OptionBlock block = nq_test::make_block(Layout::kMatrix, channels, 1, {4, 4});
  block.has_bias = true;
  block.levels[0].bias_step = step;
  return block;
}

int32_t correct(int32_t bias, int delta, float step) {
  const OptionBlock block = bias_block(1, step);
  int32_t out = 0;
  nq::write_bias(block, with_deltas(block, {delta}).data(), 0, &bias, &out);
  return out;
}

TEST(int32_bias_rounds_half_to_even) {
  CHECK_EQ(10, correct(10, 1, 0.5f));
  CHECK_EQ(12, correct(10, 3, 0.5f));
  CHECK_EQ(12, correct(10, 5, 0.5f));
  CHECK_EQ(10, correct(10, -1, 0.5f));
  CHECK_EQ(8, correct(10, -3, 0.5f));
  CHECK_EQ(-118, correct(10, -128, 1.0f));
}

TEST(int32_bias_saturates) {
  const int32_t low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
  const float largest = std::numeric_limits<float>::max();
  CHECK_EQ(high, correct(high - 1, 127, 1.0f));
  CHECK_EQ(low, correct(low + 1, -128, 1.0f));
  CHECK_EQ(high, correct(low, 127, largest));  // the product is infinite
  CHECK_EQ(low, correct(high, -128, largest));
  CHECK_EQ(5, correct(5, 0, largest));
  CHECK_EQ(high, correct(high, 0, 1.0f));
}

TEST(a_level_without_deltas_has_the_bias_as_it_stands) {
  OptionBlock block = bias_block(3, 0.5f);
  block.levels[1].bias_step = 0;
  CHECK_EQ(nq::packed_bytes(block, 0) + 64, nq::level_bytes(block, 0));
  CHECK_EQ(nq::packed_bytes(block, 1), nq::level_bytes(block, 1));
  const int32_t integers[] = {-7, 0, std::numeric_limits<int32_t>::max()};
  int32_t out[3] = {};
  nq::write_bias(block, nullptr, 1, integers, out);
  for (int c = 0; c < 3; ++c) CHECK_EQ(integers[c], out[c]);
  const float scale[] = {1.0f, 0.0f, 0.5f}, floats[] = {-0.0f, 1.0f / 3, -2.0f};
  float float_out[3] = {};
  nq::write_bias(block, nullptr, 1, scale, floats, float_out);
  CHECK_EQ(0, std::memcmp(floats, float_out, sizeof(floats)));
}

TEST(float_bias_rounds_from_the_left) {
  const OptionBlock block = bias_block(2, 0.1f);
  const float scale[] = {0.3f, 0.0f}, bias[] = {1.0f / 3, -2.0f};
  float out[2] = {};
  nq::write_bias(block, with_deltas(block, {101, 7}).data(), 0, scale, bias, out);
  volatile float product = 101.0f * 0.1f;
  product = product * 0.3f;
  CHECK_EQ(bias[0] + product, out[0]);
  CHECK_EQ(-2.0f, out[1]);
}

// Rows alone are those of the whole weight.
void check_rows(const nq::UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                const std::vector<float>& scale, const std::vector<float>& weight) {
  std::vector<int8_t> codes(weight.size()), row(block.depth);
  std::vector<float> real(block.depth);
  nq::write_weight(kernel, block, levels, level, codes.data());
  for (uint32_t c = 0; c < block.channels; ++c) {
    nq::write_row(kernel, block, levels, level, c, row.data());
    nq::write_row(kernel, block, levels, level, c, scale.data(), real.data());
    CHECK_EQ(0, std::memcmp(row.data(), codes.data() + size_t{c} * block.depth, row.size()));
    CHECK_EQ(0, std::memcmp(real.data(), weight.data() + size_t{c} * block.depth, real.size() * sizeof(float)));
  }
}

TEST(float_weights_are_scaled_codes) {
  std::mt19937 random(6);
  for (const Layout layout : {Layout::kMatrix, Layout::kDepthwise}) {
    const uint32_t depth = layout == Layout::kMatrix ? 291 : 35;  // more than what is unpacked at a time
    const OptionBlock block = nq_test::make_block(layout, 67, depth, {4, 2, 1});
    const std::vector<int8_t> codes = nq_test::random_codes(block, &random);
    std::vector<float> scale(block.channels), out(codes.size());
    for (float& value : scale) value = static_cast<float>(random() % 1000) / 997;
    std::vector<Bytes> packed;
    const uint8_t* levels[3] = {};
    for (int k = 0; k < 3; ++k) packed.push_back(nq_test::pack_level(block, k, codes));
    for (int k = 0; k < 3; ++k) levels[k] = packed[k].data();
    for (const nq::UnpackKernel* kernel : nq::kernels_of<nq::UnpackKernel>()) {
      if (!kernel->supported()) continue;
      for (int level = 0; level < 3; ++level) {
        nq::write_weight(*kernel, block, levels, level, scale.data(), out.data());
        if (layout == Layout::kMatrix) check_rows(*kernel, block, levels, level, scale, out);
        for (uint32_t c = 0; c < block.channels; ++c) {
          for (uint32_t i = 0; i < block.depth; ++i) {
            const int8_t code = nq_test::value_at_level(block, level, codes[size_t{c} * block.depth + i], i);
            CHECK_EQ(static_cast<float>(code) * scale[c], out[nq_test::reader_index(block, c, i)]);
          }
        }
      }
    }
  }
}

}  // namespace
