// What becomes of a kernel's sums in a layer of floats.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "kernels/elementwise/elementwise.h"
#include "kernels/quantize/quantize.h"
#include "kernels/requantize/requantization.h"

namespace nq {

// The range of all results of a layer, and 0. Its threads add what they have just written: in any order it is the same.
class ResultRange {
 public:
  void clear() { bits_ = 0; }

  void add(FloatRange range) {
    uint64_t old = bits_, joined;
    do {
      const FloatRange both = join(range_of(old), range);
      std::memcpy(&joined, &both, sizeof(joined));
    } while (!bits_.compare_exchange_weak(old, joined));
  }

  FloatRange get() const { return range_of(bits_); }

 private:
  static FloatRange range_of(uint64_t bits) {
    static_assert(sizeof(FloatRange) == sizeof(bits), "two floats are compared and exchanged together");
    FloatRange range;
    std::memcpy(&range, &bits, sizeof(range));
    return range;
  }

  std::atomic<uint64_t> bits_{0};
};

// What is done to results while they are in the cache.
struct ResultFinish {
  ElementwiseKernel::Floats::Unary function = nullptr;  // of each; none if null
  const QuantizeKernel* kernel = nullptr;               // which finds their range
  ResultRange* range = nullptr;                         // null if nobody asks for it

  void apply(float* results, int64_t count) const {
    constexpr int64_t kAtOnce = 4096;
    if (function == nullptr && range == nullptr) return;
    for (; count > 0; count -= kAtOnce, results += kAtOnce) {
      const auto some = static_cast<size_t>(std::min(count, kAtOnce));
      if (function != nullptr) function(results, some, results);
      if (range != nullptr) range->add(kernel->find_range(results, some));
    }
  }
};

// What layers of floats have in common.
class FinishingLayer {
 public:
  // From now on each result is a function of what it was.
  void apply(ElementwiseKernel::Floats::Unary function) { finish_.function = function; }

  // From now on the layer tells the range of its results, after a run.
  const ResultRange* tell_range() {
    finish_.range = &range_;
    return &range_;
  }

 protected:
  explicit FinishingLayer(const QuantizeKernel& kernel) { finish_.kernel = &kernel; }

  ResultFinish finish_;
  ResultRange range_;
};

struct FloatFinish {
  Dequantization dequantization;
  ResultFinish results;
};

inline const Requantization& of_sums(const Requantization& finish) { return finish; }
inline const Dequantization& of_sums(const FloatFinish& finish) { return finish.dequantization; }

// Results in a layer's output: `count` channels of every pixel, whose first ones lie `stride` apart.
struct Results {
  int64_t pixels, count, stride;
};

inline void finish_results(const Requantization&, const Results&, const int8_t*) {}

inline void finish_results(const FloatFinish& finish, const Results& results, float* first) {
  if (results.count == results.stride) return finish.results.apply(first, results.pixels * results.count);
  for (int64_t row = 0; row < results.pixels; ++row) finish.results.apply(first + row * results.stride, results.count);
}

}  // namespace nq
