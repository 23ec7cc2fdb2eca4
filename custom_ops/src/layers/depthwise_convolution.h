// DEPTHWISE_CONV_2D with one output channel an input channel, on packed weights.
#pragma once

#include "kernels/depthwise/depthwise.h"
#include "layers/float_finish.h"
#include "layers/geometry.h"
#include "layers/layer_task.h"
#include "layers/padding_row.h"
#include "layers/window_taps.h"
#include "threads/thread_pool.h"

namespace nq {

class DepthwiseConvolution {
 public:
  // The block and the padding must outlive the layer; layers that run at the same time have paddings of their own.
  DepthwiseConvolution(const DepthwiseKernel& kernel, const OptionBlock& block, PaddingRow* padding)
      : kernel_(kernel), block_(block), padding_(*padding) {}

  void reshape(const Geometry& geometry);
  const Geometry& geometry() const { return geometry_; }
  int32_t sum_offset() const { return kernel_.sum_offset; }

  // input: [batches, in_h, in_w, channels], output: [batches, out_h, out_w, channels], both dense; of a task of fewer
  // pixels, their beginning.
  void run(const LayerTask& task, const Requantization& requantization, int8_t* output, ThreadPool* pool);
  void run(const LayerTask& task, const FloatFinish& finish, float* output, ThreadPool* pool);

 private:
  template <typename Finish, typename Out>
  void run_pixels(const LayerTask& task, const Finish& finish, Out* output, ThreadPool* pool);

  const DepthwiseKernel& kernel_;
  const OptionBlock& block_;
  Geometry geometry_;
  WindowTaps taps_;
  PaddingRow& padding_;
};

}  // namespace nq
