// One quantized layer with the weight packed, and what it must give, computed without the library's kernels.
#pragma once

#include "guarded.h"
#include "kernels/packed_weight.h"
#include "kernels/requantization.h"
#include "naive_format.h"

namespace nq_test {

// Every n|h, and 8|6|4.
std::vector<std::vector<int>> all_nestings();

enum class Codes { kRandom, kExtreme };  // the lowest code of a bit-width is among both

struct NaiveLayer {
  NaiveLayer(nq::Layout layout, uint32_t channels, uint32_t depth, const std::vector<int>& bits, Codes codes,
             std::mt19937* random);

  nq::PackedWeight weight_at(int level) const;
  int weight(int level, uint32_t c, uint32_t i) const;

  // What the kernels take, from the library's sums of weights.
  Guarded<int32_t> folded_bias(const nq::PackedWeight& weight, int32_t sum_offset) const;
  nq::Requantization requantization() const { return {multiplier.data(), zero_point, low, high}; }

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

  nq::OptionBlock block;
  std::vector<int8_t> codes;
  std::vector<Guarded<uint8_t>> levels;
  std::vector<int32_t> bias;
  Guarded<float> multiplier;
  int32_t input_zero_point = -5, zero_point = 3;
  int8_t low = -128, high = 127;
};

}  // namespace nq_test
