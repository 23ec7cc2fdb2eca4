// Copies elements that lie evenly spaced along each axis: transpositions and slices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "threads/thread_pool.h"

namespace nq {

// How far apart the elements of a dense tensor of that shape lie along each axis.
inline std::vector<int64_t> strides_of(const std::vector<int32_t>& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t axis = shape.size(); axis-- > 1;) strides[axis - 1] = strides[axis] * shape[axis];
  return strides;
}

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
    last_ = take(axes);
    // To find a row's place takes divisions, which a row of few elements (a channel shuffle's) does not pay for.
    middle_ = last_.size * piece_ < kShortRow ? take(axes) : Axis{1, 0};
    outer_ = std::move(axes);
    rows_ = 1;
    for (const Axis& axis : outer_) rows_ *= axis.size;
  }

  int64_t rows() const { return rows_; }
  int64_t row_elements() const { return middle_.size * last_.size * piece_; }

  template <typename Element>
  void copy_rows(const Element* in, Range rows, Element* out) const {
    out += rows.begin * row_elements();
    for (int64_t row = rows.begin; row < rows.end; ++row, out += row_elements()) {
      const Element* from = in + offset_ + place_of(row);
      if (is_turned() && std::min(rows.end - row, outer_.back().size - row % outer_.back().size) >= kTurned) {
        turn(from, out);
        row += kTurned - 1, out += (kTurned - 1) * row_elements();
        continue;
      }
      if (piece_ == 1 && last_.size == 2 && middle_.stride == 1) {
        interleave(from, from + last_.stride, middle_.size, out);
        continue;
      }
      for (int64_t i = 0; i < middle_.size; ++i) {
        copy_last(from + i * middle_.stride, out + i * last_.size * piece_);
      }
    }
  }

 private:
  static constexpr int64_t kShortRow = 64;

  // Rows that are copied together where their elements lie side by side in the input, as a transposed matrix's do.
  static constexpr int64_t kTurned = 16, kTurnedColumns = 16;

  bool is_turned() const { return piece_ == 1 && middle_.size == 1 && !outer_.empty() && outer_.back().stride == 1; }

  template <typename Element>
  void turn(const Element* from, Element* out) const {
    int64_t column = 0;
    for (; column + kTurnedColumns <= last_.size; column += kTurnedColumns) {
      const Element* block = from + column * last_.stride;
      for (int64_t row = 0; row < kTurned; ++row) {
        for (int64_t c = 0; c < kTurnedColumns; ++c) out[row * last_.size + column + c] = block[c * last_.stride + row];
      }
    }
    for (; column < last_.size; ++column) {
      for (int64_t row = 0; row < kTurned; ++row) out[row * last_.size + column] = from[column * last_.stride + row];
    }
  }

  static Axis take(std::vector<Axis>& axes) {
    if (axes.empty()) return {1, 0};
    const Axis axis = axes.back();
    axes.pop_back();
    return axis;
  }

  template <typename Element>
  void copy_last(const Element* from, Element* out) const {
    if (piece_ == 1) {
      for (int64_t i = 0; i < last_.size; ++i) out[i] = from[i * last_.stride];
      return;
    }
    const auto bytes = static_cast<size_t>(piece_) * sizeof(Element);
    for (int64_t i = 0; i < last_.size; ++i) std::memcpy(out + i * piece_, from + i * last_.stride, bytes);
  }

  template <typename Element>
  static void interleave(const Element* first, const Element* second, int64_t count, Element* out) {
    for (int64_t i = 0; i < count; ++i) {
      out[2 * i] = first[i];
      out[2 * i + 1] = second[i];
    }
  }

  int64_t place_of(int64_t row) const {
    int64_t place = 0;
    for (size_t axis = outer_.size(); axis-- > 0;) {
      place += row % outer_[axis].size * outer_[axis].stride;
      row /= outer_[axis].size;
    }
    return place;
  }

  std::vector<Axis> outer_;
  Axis middle_ = {1, 0}, last_ = {1, 0};
  int64_t piece_ = 1;  // elements that lie together
  int64_t offset_ = 0, rows_ = 0;
};

}  // namespace nq
