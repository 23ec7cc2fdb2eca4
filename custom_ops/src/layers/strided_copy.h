// Copies elements that lie evenly spaced along each axis: transpositions and slices.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "threads/thread_pool.h"

namespace nq {

class StridedCopy {
 public:
  // Of the output, outermost first: how many, and how far apart they lie in the input.
  struct Axis {
    int64_t size, stride;
  };

  // `offset` elements of the input stand before the first one taken.
  void set(std::vector<Axis> axes, int64_t offset) {
    offset_ = offset;
    piece_ = 1;
    while (!axes.empty() && axes.back().stride == piece_) {
      piece_ *= axes.back().size;
      axes.pop_back();
    }
    last_ = axes.empty() ? Axis{1, 0} : axes.back();
    if (!axes.empty()) axes.pop_back();
    outer_ = std::move(axes);
    rows_ = 1;
    for (const Axis& axis : outer_) rows_ *= axis.size;
  }

  int64_t rows() const { return rows_; }
  int64_t row_elements() const { return last_.size * piece_; }

  template <typename Element>
  void copy_rows(const Element* in, Range rows, Element* out) const {
    out += rows.begin * row_elements();
    for (int64_t row = rows.begin; row < rows.end; ++row, out += row_elements()) {
      const Element* from = in + offset_ + place_of(row);
      if (piece_ == 1) {
        for (int64_t i = 0; i < last_.size; ++i) out[i] = from[i * last_.stride];
      } else {
        const auto bytes = static_cast<size_t>(piece_) * sizeof(Element);
        for (int64_t i = 0; i < last_.size; ++i) std::memcpy(out + i * piece_, from + i * last_.stride, bytes);
      }
    }
  }

 private:
  int64_t place_of(int64_t row) const {
    int64_t place = 0;
    for (size_t axis = outer_.size(); axis-- > 0;) {
      place += row % outer_[axis].size * outer_[axis].stride;
      row /= outer_[axis].size;
    }
    return place;
  }

  std::vector<Axis> outer_;
  Axis last_ = {1, 0};
  int64_t piece_ = 1;  // elements that lie together
  int64_t offset_ = 0, rows_ = 0;
};

}  // namespace nq
