// What fused convolutions and dense layers have in common: a nested weight, and per level the bias with everything
// constant folded in. Knows no TFLite.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "kernels/gemm/gemm.h"
#include "layers/layer_task.h"

namespace nq {

// Quantization of a layer's tensors, all per tensor but the weight's scales.
struct LayerQuantization {
  float input_scale = 1, output_scale = 1;
  int32_t input_zero_point = 0, output_zero_point = 0;
  int8_t low = -128, high = 127;     // of the fused activation
  std::vector<float> weight_scales;  // one, or one a channel
};

class QuantizedLayer {
 public:
  // `bias` may be null. The weight's memory and the bias must outlive the layer.
  QuantizedLayer(const NestedWeight& weight, LayerQuantization quantization, const int32_t* bias);

  // For a layer whose kernel adds sum_offset to each activation.
  LayerTask task(int level, int32_t sum_offset, const int8_t* input, int64_t num_pixels);
  Requantization requantization() const;

 private:
  // bias - (input_zero_point + sum_offset) * sum of weights, for every channel, padded to a multiple of 64. The sums
  // take a pass over the weight, once a level.
  const int32_t* folded_bias(int level, int32_t sum_offset);
  std::vector<int32_t> fold(int level, int32_t sum_offset) const;

  const NestedWeight& weight_;
  LayerQuantization quantization_;  // without the weight's scales, which multipliers_ has
  const int32_t* bias_;
  std::vector<float> multipliers_;
  bool shrinks_ = true;
  std::array<std::vector<int32_t>, kMaxLevels> folded_;
};

}  // namespace nq
