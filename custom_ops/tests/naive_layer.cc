#include "naive_layer.h"

#include <algorithm>
#include <cmath>

#include "kernels/unpack/weight.h"

namespace nq_test {
namespace {

size_t pad(uint32_t channels) { return (size_t{channels} + 63) / 64 * 64; }

int8_t any_code(int full_bits, Codes codes, std::mt19937* random) {
  const int limit = 1 << (full_bits - 1);
  const auto q = codes == Codes::kExtreme ? ((*random)() % 2 == 0 ? -limit : limit - 1)
                                          : static_cast<int>((*random)() % (2u * static_cast<unsigned>(limit))) - limit;
  return static_cast<int8_t>(q * (1 << (8 - full_bits)));
}

// Some channels have ties in every other output, some saturate.
float any_multiplier(uint32_t c, uint32_t depth, std::mt19937* random) {
  if (c % 8 == 3) return 0.5f;
  if (c % 8 == 5) return 1.0f / 1024;
  const float spread = 40.0f / (5000.0f * std::sqrt(static_cast<float>(depth)));
  return spread * (0.5f + static_cast<float>((*random)() % 1024) / 1024);
}

}  // namespace

std::vector<std::vector<int>> all_nestings() {
  std::vector<std::vector<int>> nestings = {{4, 2, 2}, {2, 1, 1, 1, 1, 1, 1}};
  for (int full_bits = nq::kMinFullBits; full_bits <= nq::kMaxFullBits; ++full_bits) {
    for (int part_bits = nq::kMinBaseBits; part_bits < full_bits; ++part_bits) {
      nestings.push_back({part_bits, full_bits - part_bits});
    }
  }
  return nestings;
}

NaiveLayer::NaiveLayer(nq::Layout layout, uint32_t channels, uint32_t depth, const std::vector<int>& bits,
                       Codes code_kind, std::mt19937* random)
    : block(make_block(layout, channels, depth, bits)), multiplier(pad(channels), 1.0f) {
  for (size_t n = 0; n < size_t{channels} * depth; ++n) codes.push_back(any_code(block.full_bits, code_kind, random));
  for (int k = 0; k < block.num_levels; ++k) levels.emplace_back(pack_level(block, k, codes));
  for (uint32_t c = 0; c < channels; ++c) {
    bias.push_back(static_cast<int32_t>((*random)() % 4001) - 2000);
    multiplier[c] = any_multiplier(c, depth, random);
  }
  shrinks = (*random)() % 4 != 0;
  tells_ranges = (*random)() % 4 != 0;
}

nq::PackedWeight NaiveLayer::weight_at(int level) const {
  nq::PackedWeight weight;
  weight.block = block;
  weight.level = level;
  for (size_t k = 0; k <= static_cast<size_t>(level); ++k) weight.levels[k] = levels[k].data();
  if (tells_ranges) weight.least = nq::channel_sums(weight).least;
  return weight;
}

int NaiveLayer::weight(int level, uint32_t c, uint32_t i) const {
  return value_at_level(block, level, codes[size_t{c} * block.depth + i], i);
}

Guarded<int32_t> NaiveLayer::weight_sums(const nq::PackedWeight& packed) {
  const nq::ChannelSums found = nq::channel_sums(packed);
  Guarded<int32_t> sums(found.sums.size());
  std::copy(found.sums.begin(), found.sums.end(), sums.begin());
  return sums;
}

Guarded<int32_t> NaiveLayer::folded_bias(const nq::PackedWeight& packed, int32_t offset, bool with_bias) const {
  Guarded<int32_t> folded = weight_sums(packed);
  for (uint32_t c = 0; c < block.channels; ++c) folded[c] = (with_bias ? bias[c] : 0) - offset * folded[c];
  return folded;
}

int8_t NaiveLayer::requantized(int64_t sum, uint32_t c) const {
  const double scaled = static_cast<double>(static_cast<float>(sum) * multiplier[c]);
  double rounded = std::floor(scaled);
  const double above = scaled - rounded;
  if (above > 0.5 || (above == 0.5 && std::fmod(rounded, 2.0) != 0)) rounded += 1;
  return static_cast<int8_t>(std::min<double>(std::max<double>(rounded + zero_point, low), high));
}

bool NaiveLayer::fits_16(int level) const {
  const double farthest = std::max(127 - input_zero_point, input_zero_point + 128);
  for (uint32_t c = 0; c < block.channels; ++c) {
    double largest = std::abs(static_cast<double>(bias[c]));
    for (uint32_t i = 0; i < block.depth; ++i) largest += farthest * std::abs(weight(level, c, i));
    if (largest * multiplier[c] > 32766) return false;
  }
  return true;
}

nq::Geometry any_geometry(std::mt19937* random, bool depthwise) {
  const auto pick = [random](int from, int to) { return from + static_cast<int>((*random)() % (to - from + 1)); };
  nq::Geometry g;
  do {
    g.window = {pick(1, 4), pick(1, 4), pick(1, 3), pick(1, 3), pick(1, 2), pick(1, 2), pick(0, 1) == 1};
    g.batches = pick(1, 2);
    g.in_h = pick(1, 9);
    g.in_w = pick(1, 9);
    g.in_c = depthwise ? pick(1, 70) : pick(1, 10) * (pick(0, 1) == 1 ? 4 : 1);
    g.out_c = depthwise ? g.in_c : pick(1, 40);
    nq::place_window(&g);
  } while (g.out_h < 1 || g.out_w < 1);
  return g;
}

NaiveDequantization::NaiveDequantization(const NaiveLayer& layer, size_t num_rows, std::mt19937* random)
    : row_scale(num_rows),
      zero_point(num_rows),
      scale(pad(layer.block.channels), 1.0f),
      bias(pad(layer.block.channels), 1.0f) {
  const auto any = [random] { return static_cast<float>((*random)() % 1024 + 1) / 1024; };
  for (float& value : row_scale) value = 0.05f * any();
  for (int32_t& value : zero_point) value = static_cast<int32_t>((*random)() % 256) - 128;
  for (uint32_t c = 0; c < layer.block.channels; ++c) {
    scale[c] = 0.05f * any();
    bias[c] = 10 * any() - 5;
  }
}

}  // namespace nq_test
