// What windows read beyond the edges of an image.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "layers/geometry.h"

namespace nq {

// A row of zero points, of the image or the window: the longer one. Empty where no window leaves the image.
class PaddingRow {
 public:
  void reshape(const Geometry& g) {
    const bool leaves = g.window.same_padding && std::max(g.window.kernel_h, g.window.kernel_w) > 1;
    const auto pixels = static_cast<size_t>(leaves ? std::max(g.window.kernel_w, g.in_w) : 0);
    row_.assign(pixels * static_cast<size_t>(g.in_c), 0);
  }

  void fill(int8_t zero_point) {
    if (!row_.empty() && row_[0] != zero_point) std::fill(row_.begin(), row_.end(), zero_point);
  }

  const int8_t* data() const { return row_.data(); }

 private:
  std::vector<int8_t> row_;
};

}  // namespace nq
