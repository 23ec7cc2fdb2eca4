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

  // Sets taps[0] to taps[size() - 1] for a pixel of the output: the first channel of the pixel that each tap reads, or
  // `padding` where it lies outside the image.
  void point(const int8_t* input, const int8_t* padding, const Place& place, const int8_t** taps) const;

 private:
  Geometry geometry_;
  std::vector<int64_t> offsets_;  // of each tap from the window's first
};

}  // namespace nq
