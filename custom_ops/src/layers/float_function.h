// Functions of one float tensor.
#pragma once

#include "kernels/elementwise/elementwise.h"
#include "kernels/quantize/quantize.h"

namespace nq {

class FloatFunction {
 public:
  explicit FloatFunction(ElementwiseKernel::Floats::Unary function) : function_(function) {}

  void run(const float* in, int64_t count, float* out) const { function_(in, static_cast<size_t>(count), out); }

 private:
  ElementwiseKernel::Floats::Unary function_;
};

class FloatLeak {
 public:
  FloatLeak(const ElementwiseKernel& kernel, float slope) : kernel_(kernel), slope_(slope) {}

  void run(const float* in, int64_t count, float* out) const {
    kernel_.floats.leak(in, static_cast<size_t>(count), slope_, out);
  }

 private:
  const ElementwiseKernel& kernel_;
  float slope_;
};

class FloatClamp {
 public:
  FloatClamp(const ElementwiseKernel& kernel, FloatRange range) : kernel_(kernel), range_(range) {}

  void run(const float* in, int64_t count, float* out) const {
    kernel_.floats.clamp(in, static_cast<size_t>(count), range_.min, range_.max, out);
  }

 private:
  const ElementwiseKernel& kernel_;
  FloatRange range_;
};

}  // namespace nq
