// One quantized layer with the weight packed, and what it must give, computed without the library's kernels.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "check.h"
#include "guarded.h"
#include "kernels/requantize/requantization.h"
#include "kernels/unpack/packed_weight.h"
#include "layers/geometry.h"
#include "naive_format.h"

namespace nq_test {

// Every n|h, and of more levels 8|6|4 and 8|7|6|5|4|3|2.
std::vector<std::vector<int>> all_nestings();

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

enum class Codes { kRandom, kExtreme };  // the lowest code of a bit-width is among both

struct NaiveLayer {
  NaiveLayer(nq::Layout layout, uint32_t channels, uint32_t depth, const std::vector<int>& bits, Codes codes,
             std::mt19937* random);

  nq::PackedWeight weight_at(int level) const;
  int weight(int level, uint32_t c, uint32_t i) const;

  // What the kernels take, from the library's sums of weights: (bias or 0) - offset * sum of weights.
  Guarded<int32_t> folded_bias(const nq::PackedWeight& weight, int32_t offset, bool with_bias) const;
  static Guarded<int32_t> weight_sums(const nq::PackedWeight& weight);
  nq::Requantization requantization(int level) const {
    return {multiplier.data(), zero_point, low, high, shrinks, tells_ranges && fits_16(level)};
  }

  // The output for activations that `activation(i)` gives.
  template <typename Activation>
  int8_t output(int level, uint32_t c, const Activation& activation) const {
    int64_t sum = bias[c];
    for (uint32_t i = 0; i < block.depth; ++i) {
      sum += int64_t{activation(i) - input_zero_point} * weight(level, c, i);
    }
    return requantized(sum, c);
  }
  int8_t requantized(int64_t sum, uint32_t c) const;
  bool fits_16(int level) const;  // no activations give a scaled sum beyond int16

  nq::OptionBlock block;
  std::vector<int8_t> codes;
  std::vector<Guarded<uint8_t>> levels;
  std::vector<int32_t> bias;
  Guarded<float> multiplier;
  int32_t input_zero_point = -5, zero_point = 3;
  int8_t low = -128, high = 127;
  bool shrinks;       // whether the requantization says that its multipliers, all below 1, are so
  bool tells_ranges;  // whether kernels are told the least weight, and that scaled sums fit in int16 where they do
};

// A small one, with every kind of window.
nq::Geometry any_geometry(std::mt19937* random, bool depthwise);

// Rows that were each quantized in its own way, and the floats that they give.
struct NaiveDequantization {
  NaiveDequantization(const NaiveLayer& layer, size_t num_rows, std::mt19937* random);

  nq::Dequantization dequantization(const Guarded<int32_t>& sums) const {
    return {row_scale.data(), zero_point.data(), sums.data(), scale.data(), bias.data(), low, high};
  }

  template <typename Activation>
  void check(const NaiveLayer& layer, int level, size_t row, uint32_t c, float got,
             const Activation& activation) const {
    double sum = 0, size = 1;
    for (uint32_t i = 0; i < layer.block.depth; ++i) {
      sum += double(activation(i) - zero_point[row]) * layer.weight(level, c, i);
    }
    const double exact = sum * row_scale[row] * scale[c] + bias[c];
    size += std::abs(sum * row_scale[row] * scale[c]) + std::abs(bias[c]);
    CHECK(std::abs(std::min(std::max(exact, double{low}), double{high}) - got) <= 1e-6 * size);
  }

  Guarded<float> row_scale;
  Guarded<int32_t> zero_point;
  Guarded<float> scale, bias;  // padded to a multiple of 64 channels
  float low = -30, high = 40;
};

}  // namespace nq_test
