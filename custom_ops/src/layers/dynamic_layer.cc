#include "layers/dynamic_layer.h"

#include "kernels/unpack/weight.h"

namespace nq {
namespace {

// Of codes of dense rows: enough to keep all threads busy between two of their meetings.
// `python -m nq_tflite_models.benchmark --activations float --threads 1,2` times it.
constexpr int64_t kBytesTogether = 1 << 20;

}  // namespace

DynamicLayer::DynamicLayer(const QuantizeKernel& kernel, const NestedWeight& weight, const FloatParameters& parameters)
    : FinishingLayer(kernel),
      kernel_(kernel),
      weight_(weight),
      parameters_(parameters),
      scale_(padded_channels(weight.block)) {
  std::copy(parameters.weight_scale, parameters.weight_scale + weight.block.channels, scale_.begin());
}

DynamicLayer::Groups DynamicLayer::groups_of(const Geometry& g) const {
  if (parameters_.grouping == Grouping::kRow) {
    return {g.pixels(), g.in_c, 1, std::max<int64_t>(kBytesTogether / g.in_c, 1)};
  }
  return {g.batches, int64_t{g.in_h} * g.in_w * g.in_c, int64_t{g.out_h} * g.out_w, 1};
}

const DynamicLayer::Constants& DynamicLayer::constants_of(int level, int32_t sum_offset) {
  Constants& constants = constants_[static_cast<size_t>(level)];
  if (constants.sums.empty()) constants = make_constants(level, sum_offset);
  return constants;
}

DynamicLayer::Constants DynamicLayer::make_constants(int level, int32_t sum_offset) const {
  const OptionBlock& block = weight_.block;
  Constants constants;
  constants.bias.resize(padded_channels(block));
  ChannelSums of_weight = channel_sums(weight_at(weight_, level));
  constants.sums = std::move(of_weight.sums);
  constants.least = of_weight.least;
  for (const int32_t sum : constants.sums) {  // wraps as the accumulation that it precedes does
    constants.offset.push_back(
        static_cast<int32_t>(0u - static_cast<uint32_t>(sum_offset) * static_cast<uint32_t>(sum)));
  }
  const float* bias = parameters_.bias;
  if (bias != nullptr && block.has_bias) {
    write_bias(block, weight_.levels[level].data, level, scale_.data(), bias, constants.bias.data());
  } else if (bias != nullptr) {
    std::copy(bias, bias + block.channels, constants.bias.begin());
  }
  return constants;
}

Dequantization DynamicLayer::dequantization(const Constants& constants, const QuantizedRows& rows) const {
  const size_t row_step = parameters_.grouping == Grouping::kRow ? 1 : 0;
  return {
      rows.scale,       rows.zero_point, constants.sums.data(), scale_.data(), constants.bias.data(), parameters_.low,
      parameters_.high, row_step};
}

}  // namespace nq
