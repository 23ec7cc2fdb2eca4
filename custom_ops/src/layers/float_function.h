// Functions of one float tensor.
#pragma once

#include <algorithm>
#include <limits>

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

class FloatCube {
 public:
  explicit FloatCube(const ElementwiseKernel& kernel) : floats_(kernel.floats) {}

  void run(const float* in, int64_t count, float* out) const {
    constexpr int64_t kTile = 256;
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    float squares[kTile];
    for (int64_t begin = 0; begin < count; begin += kTile) {
      const auto size = static_cast<size_t>(std::min(kTile, count - begin));
      floats_.square(in + begin, size, squares);
      floats_.multiply({squares, in + begin, 1, 1}, -kInfinity, kInfinity, size, out + begin);
    }
  }

 private:
  const ElementwiseKernel::Floats& floats_;
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
