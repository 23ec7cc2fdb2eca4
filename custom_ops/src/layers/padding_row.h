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
    const Window& w = g.window;
    const bool leaves = (w.same_padding && std::max(w.kernel_h, w.kernel_w) > 1) ||
                        std::max({w.pad_top, w.pad_bottom, w.pad_left, w.pad_right}) > 0;
    const auto pixels = static_cast<size_t>(leaves ? std::max(w.kernel_w, g.in_w) : 0);
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
