// Operators that compute the rows of an image from rows of another, so that a few rows may be computed at a time.
#pragma once

#include "layers/geometry.h"
#include "operators/operator.h"

namespace nq {

// Rows of one image: `geometry` is that of an image with these rows alone, and with the rows of the input that they
// need.
struct Band {
  Geometry geometry;
  int32_t batch, first_row, first_input_row;
};

// Rows `begin` to `end` of the output. Padding is left where the image ends.
inline Band band_of(const Geometry& g, int32_t batch, int32_t begin, int32_t end) {
  const int64_t stride = g.window.stride_h, span = window_span(g.window.kernel_h, g.window.dilation_h);
  const int64_t top = begin * stride - g.pad_top, bottom = (end - 1) * stride - g.pad_top + span;
  const auto first = static_cast<int32_t>(std::clamp<int64_t>(top, 0, g.in_h));
  Band band = {g, batch, begin, first};
  band.geometry.batches = 1;
  band.geometry.in_h = static_cast<int32_t>(std::clamp<int64_t>(bottom, first, g.in_h)) - first;
  band.geometry.out_h = end - begin;
  band.geometry.pad_top = static_cast<int32_t>(first - top);
  return band;
}

class RowOperator {
 public:
  virtual ~RowOperator() = default;

  // Of whole images, since the last reshape.
  virtual const Geometry& geometry() const = 0;

  // Around all bands of an inference.
  virtual void begin_rows() {}
  virtual void end_rows() {}

  // `input` has the rows that the band needs, and `output` gets the band's; other operands are in `tensors`, whole.
  virtual void run_rows(const Band& band, const int8_t* input, const Pointers& tensors, int8_t* output,
                        ThreadPool* threads) = 0;
};

}  // namespace nq
