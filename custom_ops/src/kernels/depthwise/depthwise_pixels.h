// Textual for kernel files: internal linkage, as in unpack_words.h.
#pragma once

#include "kernels/depthwise/depthwise.h"

namespace nq {
namespace {

// Calls multiply(taps, offset, pixel) for every pixel: its tap t reads from taps[t] + offset.
template <typename Multiply>
[[gnu::always_inline]] inline void for_each_pixel(const DepthwiseTile& tile, const Multiply& multiply) {
  size_t pixel = 0;
  for (int r = 0; r < tile.pixels.num_runs; ++r) {
    const TapRun& run = tile.pixels.runs[r];
    size_t offset = 0;
    for (int i = 0; i < run.num_pixels; ++i, offset += tile.pixels.step) multiply(run.taps, offset, pixel++);
  }
}

}  // namespace
}  // namespace nq
