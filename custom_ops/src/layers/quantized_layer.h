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
  Requantization requantization(int level, int32_t sum_offset);

 private:
  // What a pass over the weight gives, once a level.
  struct Folded {
    std::vector<int32_t> bias;  // less (input_zero_point + sum_offset) * sum of weights; padded to 64 channels
    int8_t least = 0;           // of the codes
    bool fits_16 = true;        // of Requantization
  };
  const Folded& folded(int level, int32_t sum_offset);
  Folded fold(int level, int32_t sum_offset) const;
  bool fits_16(uint32_t channel, int32_t bias, int32_t magnitude) const;

  const NestedWeight& weight_;
  LayerQuantization quantization_;  // without the weight's scales, which multipliers_ has
  const int32_t* bias_;
  std::vector<float> multipliers_;
  bool shrinks_ = true;
  std::array<Folded, kMaxLevels> folded_;
};

}  // namespace nq
