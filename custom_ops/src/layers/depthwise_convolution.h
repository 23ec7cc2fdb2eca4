// DEPTHWISE_CONV_2D with one output channel an input channel, on packed weights.
#pragma once

#include <vector>

#include "kernels/depthwise.h"
#include "layers/geometry.h"
#include "layers/quantized_layer.h"
#include "layers/window_taps.h"
#include "threads/thread_pool.h"

namespace nq {

class DepthwiseConvolution {
 public:
  DepthwiseConvolution(const DepthwiseKernel& kernel, QuantizedLayer* layer) : kernel_(kernel), layer_(layer) {}

  void reshape(const Geometry& geometry);

  // input: [batches, in_h, in_w, channels], output: [batches, out_h, out_w, channels], both dense.
  void run(int level, const int8_t* input, int8_t* output, ThreadPool* pool);

 private:
  template <typename Finish, typename Out>
  void run_pixels(const PackedWeight& weight, const int32_t* bias, const int8_t* input, const Finish& finish,
                  Out* output, ThreadPool* pool) const;

  const DepthwiseKernel& kernel_;
  QuantizedLayer* layer_;
  Geometry geometry_;
  WindowTaps taps_;
  std::vector<int8_t> padding_;  // a pixel of zero points
};

}  // namespace nq
