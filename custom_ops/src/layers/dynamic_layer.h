// What fused convolutions and dense layers of floats have in common: dynamic range. Every image, or every row of a
// dense layer, is quantized to int8 when it comes and multiplied with the packed weight's codes; the sums become floats
// again. Nothing about an input outlives its inference. Knows no TFLite.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "layers/float_finish.h"
#include "layers/geometry.h"
#include "layers/layer_task.h"
#include "layers/quantize_rows.h"

namespace nq {

// What is quantized together.
enum class Grouping { kImage, kRow };

struct FloatParameters {
  Grouping grouping = Grouping::kImage;
  const float* weight_scale = nullptr;  // of every channel
  const float* bias = nullptr;          // may be null
  float low = 0, high = 0;              // of the fused activation
};

class DynamicLayer : public FinishingLayer {
 public:
  // The weight's memory and the parameters must outlive the layer.
  DynamicLayer(const QuantizeKernel& kernel, const NestedWeight& weight, const FloatParameters& parameters);

  // From now on the layer is told the range of an image that it reads.
  void use_range(const ResultRange* of_input) { of_input_ = of_input; }

  // From now on another layer has always quantized the same rows just before.
  void reuse_rows() { reuses_rows_ = true; }

  // `layer` is a Convolution or a DepthwiseConvolution of this weight, and the tensors are as that has them, but
  // floats. An image (or row) with a NaN or an infinity gives NaN everywhere.
  template <typename Layer>
  void run(Layer* layer, int level, const float* input, float* output, ThreadPool* pool) {
    const Geometry& g = layer->geometry();
    const Groups groups = groups_of(g);
    const Constants& constants = constants_of(level, layer->sum_offset());
    const bool is_told = of_input_ != nullptr && groups.count == 1;
    const FloatRange told = is_told ? of_input_->get() : FloatRange{};
    range_.clear();
    for (int64_t first = 0; first < groups.count; first += groups.together) {
      const int64_t count = std::min(groups.together, groups.count - first);
      const bool are_there = reuses_rows_ && count == groups.count;
      const QuantizedRows rows = are_there ? quantized_rows(groups.size, count, pool)
                                           : quantize_rows(kernel_, input + first * groups.size, groups.size, count,
                                                           pool, is_told ? &told : nullptr);
      PackedWeight weight = weight_at(weight_, level);
      weight.least = constants.least;
      const LayerTask task = {weight, constants.offset.data(), rows.codes, static_cast<int8_t>(rows.zero_point[0]),
                              count * groups.pixels};
      layer->run(task, FloatFinish{dequantization(constants, rows), finish_}, output + first * groups.pixels * g.out_c,
                 pool);
    }
  }

 private:
  struct Groups {
    int64_t count, size;  // groups of `size` floats
    int64_t pixels;       // of the output, from one group
    int64_t together;     // groups whose codes are in memory at a time
  };
  // Of a level, padded to a multiple of 64 channels.
  struct Constants {
    std::vector<int32_t> sums, offset;  // sum(w), -sum_offset * sum(w)
    std::vector<float> bias;
    int8_t least = 0;  // of the codes
  };

  Groups groups_of(const Geometry& geometry) const;
  const Constants& constants_of(int level, int32_t sum_offset);
  Constants make_constants(int level, int32_t sum_offset) const;
  Dequantization dequantization(const Constants& constants, const QuantizedRows& rows) const;

  const QuantizeKernel& kernel_;
  const NestedWeight& weight_;
  FloatParameters parameters_;
  std::vector<float> scale_;  // padded
  std::array<Constants, kMaxLevels> constants_;
  const ResultRange* of_input_ = nullptr;
  bool reuses_rows_ = false;
};

}  // namespace nq
