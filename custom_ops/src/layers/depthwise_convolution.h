// DEPTHWISE_CONV_2D with one output channel an input channel, on packed weights.
#pragma once

#include "kernels/depthwise.h"
#include "layers/geometry.h"
#include "layers/quantized_layer.h"
#include "threads/thread_pool.h"

namespace nq {

class DepthwiseConvolution {
 public:
  DepthwiseConvolution(const DepthwiseKernel& kernel, QuantizedLayer* layer) : kernel_(kernel), layer_(layer) {}

  void reshape(const Geometry& geometry);

  // input: [batches, in_h, in_w, channels], output: [batches, out_h, out_w, channels], both dense.
  void run(int level, const int8_t* input, int8_t* output, ThreadPool* pool);

 private:
  void point_at_taps(const int8_t* input, const Place& place, const int8_t** taps) const;

  const DepthwiseKernel& kernel_;
  QuantizedLayer* layer_;
  Geometry geometry_;
  std::vector<int8_t> padding_;   // a pixel of zero points
  std::vector<int64_t> offsets_;  // of each tap from the window's first
};

}  // namespace nq
