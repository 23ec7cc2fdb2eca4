// A fused dense layer of floats whose weight has scales for groups of its inputs: dynamic range, as `DynamicLayer`, but
// a scale for each group of a row too, and sums of floats (FORMAT.md, section 4.6). Knows no TFLite.
#pragma once

#include <array>
#include <vector>

#include "kernels/groups/groups.h"
#include "layers/dynamic_layer.h"
#include "layers/quantize_rows.h"

namespace nq {

class GroupDense {
 public:
  // The weight's memory and the parameters must outlive the layer; `group_scales` are checked f16.
  GroupDense(const GroupKernel& kernel, const QuantizeKernel& quantize, const NestedWeight& weight,
             const FloatParameters& parameters, const uint8_t* group_scales);

  // From now on another layer has always quantized the same rows, in the same groups, just before.
  void reuse_rows() { reuses_rows_ = true; }

  // A row with a NaN or an infinity gives NaN everywhere. The bytes are the same for any number of threads.
  void run(int level, const float* input, int64_t num_rows, float* output, ThreadPool* pool);

 private:
  const std::vector<float>& bias_of(int level);
  void run_rows(int level, const GroupRows& rows, float* output, ThreadPool* pool);

  const GroupKernel& kernel_;
  const QuantizeKernel& quantize_;
  const NestedWeight& weight_;
  FloatParameters parameters_;
  const uint8_t* group_scales_;
  std::vector<float> scale_;                         // of the channels, padded
  std::array<std::vector<float>, kMaxLevels> bias_;  // of the levels, padded
  bool reuses_rows_ = false;
};

}  // namespace nq
