// Where each tap of a window reads: for layers that use activations in place.
#pragma once

#include <cstdint>
#include <vector>

#include "layers/geometry.h"

namespace nq {

class WindowTaps {
 public:
  void reshape(const Geometry& geometry);

  // Taps of a window, in the filter's order.
  size_t size() const { return offsets_.size(); }

  // How many pixels of the output from `place` on lie in one row and have taps that all move on together, by step().
  int64_t run_length(const Place& place) const;
  size_t step() const { return static_cast<size_t>(geometry_.window.stride_w) * static_cast<size_t>(geometry_.in_c); }

  // Within a run, taps in rows of columns() follow each other in the input; 0 if they do not.
  uint32_t columns() const {
    return geometry_.window.dilation_w == 1 ? static_cast<uint32_t>(geometry_.window.kernel_w) : 0;
  }

  // Sets taps[0] to taps[size() - 1] for a pixel of the output: the first channel of the pixel that each tap reads, or
  // `padding` where it lies outside the image. For a run, the padding is as long as a row of the image.
  void point(const int8_t* input, const int8_t* padding, const Place& place, const int8_t** taps) const;

 private:
  Geometry geometry_;
  std::vector<int64_t> offsets_;               // of each tap from the window's first
  int64_t inside_begin_ = 0, inside_end_ = 0;  // the columns of the output whose windows need no padding on a side
};

}  // namespace nq
