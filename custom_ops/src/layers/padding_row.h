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
  static constexpr size_t kLeastBytes = 32;  // of a row that is not empty

  void reshape(const Geometry& g) {
    if (bytes_of(g) <= row_.size()) return;
    row_.assign(bytes_of(g), 0);
    filled_ = 0;
  }

  // Fills what that layer reads. Layers whose windows stay in the image leave the row as it is: others, whose zero
  // point is another, would have to fill it anew each time.
  void fill(const Geometry& g, int8_t zero_point) {
    const size_t bytes = bytes_of(g);
    if (bytes == 0 || (bytes <= filled_ && zero_point == row_[0])) return;
    std::fill_n(row_.begin(), bytes, zero_point);
    filled_ = bytes;
  }

  const int8_t* data() const { return row_.data(); }

 private:
  // A row of the image or the window, whichever is longer; none where no window leaves the image.
  static size_t bytes_of(const Geometry& g) {
    const Window& w = g.window;
    const bool leaves = (w.same_padding && std::max(w.kernel_h, w.kernel_w) > 1) ||
                        std::max({w.pad_top, w.pad_bottom, w.pad_left, w.pad_right}) > 0;
    const auto pixels = static_cast<size_t>(leaves ? std::max(w.kernel_w, g.in_w) : 0);
    const size_t bytes = pixels * static_cast<size_t>(g.in_c);
    return bytes == 0 ? 0 : std::max<size_t>(bytes, kLeastBytes);
  }

  std::vector<int8_t> row_;
  size_t filled_ = 0;  // bytes at its beginning that are all alike
};

}  // namespace nq
