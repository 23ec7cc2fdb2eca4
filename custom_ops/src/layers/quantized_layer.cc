#include "layers/quantized_layer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/unpack/weight.h"

namespace nq {

QuantizedLayer::QuantizedLayer(const NestedWeight& weight, LayerQuantization quantization, const int32_t* bias)
    : weight_(weight),
      quantization_(std::move(quantization)),
      bias_(bias),
      multipliers_(padded_channels(weight.block)) {
  const std::vector<float> scales = std::exchange(quantization_.weight_scales, {});
  for (uint32_t c = 0; c < weight_.block.channels; ++c) {
    const float scale = scales[scales.size() == 1 ? 0 : c];
    multipliers_[c] = quantization_.input_scale * scale / quantization_.output_scale;  // in XNNPACK's order
    shrinks_ = shrinks_ && multipliers_[c] < 1;
  }
}

LayerTask QuantizedLayer::task(int level, int32_t sum_offset, const int8_t* input, int64_t num_pixels) {
  const Folded& constants = folded(level, sum_offset);
  PackedWeight weight = weight_at(weight_, level);
  weight.least = constants.least;
  const auto zero_point = static_cast<int8_t>(quantization_.input_zero_point);
  return {weight, constants.bias.data(), input, zero_point, num_pixels};
}

const QuantizedLayer::Folded& QuantizedLayer::folded(int level, int32_t sum_offset) {
  Folded& folded = folded_[static_cast<size_t>(level)];
  if (folded.bias.empty()) folded = fold(level, sum_offset);
  return folded;
}

QuantizedLayer::Folded QuantizedLayer::fold(int level, int32_t sum_offset) const {
  Folded folded;
  std::vector<int32_t>& bias = folded.bias;
  bias.resize(padded_channels(weight_.block));
  if (bias_ != nullptr && weight_.block.has_bias) {
    write_bias(weight_.block, weight_.levels[level].data, level, bias_, bias.data());
  } else if (bias_ != nullptr) {
    std::copy(bias_, bias_ + weight_.block.channels, bias.begin());
  }
  const ChannelSums of_weight = channel_sums(weight_at(weight_, level));
  folded.least = of_weight.least;
  const auto offset = static_cast<uint32_t>(quantization_.input_zero_point + sum_offset);
  for (uint32_t c = 0; c < weight_.block.channels; ++c) {  // wraps as the accumulation that it precedes does
    folded.fits_16 = folded.fits_16 && fits_16(c, bias[c], of_weight.magnitudes[c]);
    bias[c] = static_cast<int32_t>(static_cast<uint32_t>(bias[c]) - offset * static_cast<uint32_t>(of_weight.sums[c]));
  }
  return folded;
}

// Whether no activations could make the channel's sum too large, by 2 % for what floats round.
bool QuantizedLayer::fits_16(uint32_t channel, int32_t bias, int32_t magnitude) const {
  const int32_t zero_point = quantization_.input_zero_point;
  const double farthest = std::max(127 - zero_point, zero_point + 128);
  const double largest = std::abs(static_cast<double>(bias)) + farthest * magnitude;
  return largest * static_cast<double>(multipliers_[channel]) < 32000;
}

Requantization QuantizedLayer::requantization(int level, int32_t sum_offset) {
  return {multipliers_.data(),
          quantization_.output_zero_point,
          quantization_.low,
          quantization_.high,
          shrinks_,
          folded(level, sum_offset).fits_16};
}

}  // namespace nq
