// Convolutions and dense layers whose weights are plain floats, between layers of packed weights. Every output is one
// sum, in the order of the filter, so that its bytes are the same for any number of threads.
#pragma once

#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "layers/float_finish.h"
#include "layers/geometry.h"
#include "layers/padding_row.h"
#include "layers/window_taps.h"
#include "threads/thread_pool.h"

namespace nq {

struct FloatWeight {
  bool depthwise = false;
  size_t channels = 0, depth = 0;  // depth: weights of a channel
  const float* values = nullptr;   // [channels, depth], or [depth, channels] of a depthwise convolution
  const float* bias = nullptr;     // of each channel; may be null
  float low = 0, high = 0;         // of the fused activation
};

class FloatLayer : public FinishingLayer {
 public:
  // What the weight points to and the padding must outlive the layer.
  FloatLayer(const ElementwiseKernel& kernel, const QuantizeKernel& quantize, const FloatWeight& weight,
             PaddingRow* padding);

  void reshape(const Geometry& geometry);

  // input: [batches, in_h, in_w, in_c], output: [batches, out_h, out_w, out_c], both dense.
  void run(const float* input, float* output, ThreadPool* pool);

 private:
  void multiply(const float* input, Range pixels, float* output, Workspace* workspace) const;
  void multiply_depthwise(const float* input, Range pixels, float* output, Workspace* workspace) const;
  void copy_rows(const float* input, int64_t first, int64_t count, const int8_t** taps, float* rows) const;

  const ElementwiseKernel::Floats& floats_;
  FloatWeight weight_;
  std::vector<float> panels_;  // of a weight that is not depthwise
  std::vector<float> bias_;
  Geometry geometry_;  // a pixel's channels counted in bytes, as taps and padding take them
  WindowTaps taps_;
  PaddingRow& padding_;
  bool in_place_ = false;  // the pixels of the input are the rows to multiply
};

}  // namespace nq
