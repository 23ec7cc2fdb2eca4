// What windows read beyond the edges of an image: zero points, as many as the longest layer asks for. Layers that run
// one after the other share it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "layers/geometry.h"

namespace nq {

class PaddingRow {
 public:
  // A row of the image or the window, whichever is longer; none where no window leaves the image.
  void reshape(const Geometry& g) {
    const Window& w = g.window;
    const bool leaves = (w.same_padding && std::max(w.kernel_h, w.kernel_w) > 1) ||
                        std::max({w.pad_top, w.pad_bottom, w.pad_left, w.pad_right}) > 0;
    const auto pixels = static_cast<size_t>(leaves ? std::max(w.kernel_w, g.in_w) : 0);
    const size_t bytes = pixels * static_cast<size_t>(g.in_c);
    if (bytes > row_.size()) row_.assign(bytes, 0);
  }

  void fill(int8_t zero_point) {
    if (!row_.empty() && row_[0] != zero_point) std::fill(row_.begin(), row_.end(), zero_point);
  }

  const int8_t* data() const { return row_.data(); }

 private:
  std::vector<int8_t> row_;
};

}  // namespace nq
