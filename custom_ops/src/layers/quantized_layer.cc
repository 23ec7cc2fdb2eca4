#include "layers/quantized_layer.h"

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
  const auto zero_point = static_cast<int8_t>(quantization_.input_zero_point);
  return {weight_at(weight_, level), folded_bias(level, sum_offset), input, zero_point, num_pixels};
}

const int32_t* QuantizedLayer::folded_bias(int level, int32_t sum_offset) {
  std::vector<int32_t>& folded = folded_[level];
  if (folded.empty()) folded = fold(level, sum_offset);
  return folded.data();
}

std::vector<int32_t> QuantizedLayer::fold(int level, int32_t sum_offset) const {
  std::vector<int32_t> folded(padded_channels(weight_.block)), sums(folded.size());
  if (bias_ != nullptr && weight_.block.has_bias) {
    write_bias(weight_.block, weight_.levels[level].data, level, bias_, folded.data());
  } else if (bias_ != nullptr) {
    std::copy(bias_, bias_ + weight_.block.channels, folded.begin());
  }
  channel_sums(weight_at(weight_, level), sums.data());
  const auto offset = static_cast<uint32_t>(quantization_.input_zero_point + sum_offset);
  for (uint32_t c = 0; c < weight_.block.channels; ++c) {  // wraps as the accumulation that it precedes does
    folded[c] = static_cast<int32_t>(static_cast<uint32_t>(folded[c]) - offset * static_cast<uint32_t>(sums[c]));
  }
  return folded;
}

Requantization QuantizedLayer::requantization() const {
  return {multipliers_.data(), quantization_.output_zero_point, quantization_.low, quantization_.high, shrinks_};
}

}  // namespace nq
