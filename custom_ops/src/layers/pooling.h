// Pooling windows and means over whole images, NHWC.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "kernels/quantize/quantize.h"
#include "layers/geometry.h"
#include "layers/quantization.h"
#include "threads/thread_pool.h"

namespace nq {

// Pixels of the output, all channels of them; `out` is where the first one goes.
void max_pool(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in, Range pixels,
              int8_t* out);

// As TFLite's kernel has it, which XNNPACK leaves int8 to: the sum of the window's pixels within the image over their
// number, halves away from zero.
void average_pool(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                  Range pixels, int8_t* out);

// The same of floats.
void max_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                     Range pixels, float* out);
void average_pool_floats(const ElementwiseKernel& kernel, const Geometry& g, FloatRange range, const float* in,
                         Range pixels, float* out);

// MEAN over an image's pixels with XNNPACK's arithmetic: an exact sum, scaled in float.
class ImageMean {
 public:
  using Element = int8_t;

  ImageMean(const ElementwiseKernel& kernel, Quantization input, Quantization output)
      : kernel_(kernel), input_(input), output_(output) {}

  void set_pixels(int64_t pixels);

  // Channels [begin, begin + count) of one image; `in` and `out` are at its first pixel's channel 0.
  void run(const int8_t* in, int64_t channels, int64_t begin, int64_t count, int8_t* out) const;

 private:
  void finish(const int32_t* sums, int64_t count, int8_t* out) const;

  const ElementwiseKernel& kernel_;
  Quantization input_, output_;
  int64_t pixels_ = 0;
  float scale_ = 0, offset_ = 0;
};

// The same, as other reductions, in the kernel's own arithmetic.
template <typename ElementType>
class ImageReduction {
 public:
  using Element = ElementType;

  explicit ImageReduction(const ElementwiseKernel& kernel) : kernel_(kernel) {}

  void set_pixels(int64_t pixels) { pixels_ = pixels; }

 protected:
  const ElementwiseKernel& kernel_;
  int64_t pixels_ = 0;
};

class FloatImageSum : public ImageReduction<float> {
 public:
  using ImageReduction::ImageReduction;
  void run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const;
};

class FloatImageMean : public FloatImageSum {
 public:
  using FloatImageSum::FloatImageSum;
  void run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const;
};

// The greatest of an image's pixels, by channel.
class ImageGreatest : public ImageReduction<int8_t> {
 public:
  using ImageReduction::ImageReduction;
  void run(const int8_t* in, int64_t channels, int64_t begin, int64_t count, int8_t* out) const;
};

class FloatImageGreatest : public ImageReduction<float> {
 public:
  using ImageReduction::ImageReduction;
  void run(const float* in, int64_t channels, int64_t begin, int64_t count, float* out) const;
};

}  // namespace nq
