// Spaced rows as tile loads take them: in groups of 16, where they are. Textual, as amx_tiles.h.
#pragma once

#include <algorithm>
#include <cstring>

#include "kernels/gemm/amx_tiles.h"
#include "kernels/gemm/gemm_avx512.h"

namespace nq {
namespace {

// Up to four groups of rows.
struct UnitRows {
  const int8_t* first[kAccumulators];
  size_t stride[kAccumulators];
  const size_t* offsets;  // of each piece from the first one
};

// The last group of a line, or of all rows where lines follow each other, ends with it, and may have rows of the group
// before it. Rows are copied where there are fewer than 16, and where loads of the last ones would go beyond what they
// lie in.
class SpacedRows {
 public:
  // `memory` has scratch_bytes().
  SpacedRows(const GemmRows& rows, uint8_t* memory)
      : rows_(rows),
        run_(rows.spacing.line_step == 0 ? rows.num_rows : rows.spacing.line),
        run_groups_((run_ + kGroupRows - 1) / kGroupRows),
        num_groups_(run_groups_ * (rows.num_rows / run_)) {
    copied_stride_ = size_t{rows.num_pieces} * steps_of(rows.piece_depth) * kStepDepth;
    auto* copied = reinterpret_cast<int8_t*>(memory);
    offsets_ = reinterpret_cast<size_t*>(memory + kMostCopied * copied_stride_);
    first_copied_ = num_groups_;
    if (rows.num_rows < kGroupRows || (rows.num_pieces == 1 && rows.piece_depth % kStepDepth != 0)) {
      first_copied_ = std::max(num_groups_ - 2, 0);  // rows of 4 before the last 16 of them reach beyond these too
      copied_ = copied;
      copy_last(copied);
    }
    // Of several pieces, all rows have been copied or none.
    for (uint32_t k = 0; k < rows.num_pieces; ++k) {
      const auto between = static_cast<size_t>(rows.pieces[k] - rows.pieces[0]);
      offsets_[k] = copied_ == nullptr ? between : size_t{k} * steps_of(rows.piece_depth) * kStepDepth;
    }
  }

  static size_t scratch_bytes(uint32_t depth, uint32_t num_pieces) {
    const size_t row = (size_t{steps_of(depth)} + num_pieces) * kStepDepth;
    return align(kMostCopied * row + num_pieces * sizeof(size_t), kLineBytes);
  }

  int num_groups() const { return num_groups_; }
  int group_rows() const { return std::min(rows_.num_rows, kGroupRows); }
  int first_row(int group) const { return group / run_groups_ * run_ + first_in_run(group % run_groups_); }

  UnitRows unit(int first_group, int num_groups) const {
    UnitRows unit;
    unit.offsets = offsets_;
    for (int i = 0; i < num_groups; ++i) place(first_group + i, &unit.first[i], &unit.stride[i]);
    return unit;
  }

 private:
  static constexpr int kMostCopied = 2 * kGroupRows;

  int first_in_run(int group) const { return std::max(std::min(group * kGroupRows, run_ - kGroupRows), 0); }

  void place(int group, const int8_t** first, size_t* stride) const {
    if (group >= first_copied_) {
      *first = copied_ + static_cast<size_t>(first_row(group) - first_row(first_copied_)) * copied_stride_;
      *stride = copied_stride_;
      return;
    }
    const auto line = static_cast<size_t>(group / run_groups_);
    const auto row = static_cast<size_t>(first_in_run(group % run_groups_));
    *first = rows_.pieces[0] + line * rows_.spacing.line_step + row * rows_.spacing.step;
    *stride = rows_.spacing.step;
  }

  // With zeros behind their depth. The last row stands in for those that a group lacks.
  void copy_last(int8_t* to) const {
    const int first = first_row(first_copied_), count = std::max(rows_.num_rows - first, kGroupRows);
    for (int r = 0; r < count; ++r) {
      const auto row = static_cast<size_t>(std::min(first + r, rows_.num_rows - 1));
      for (uint32_t k = 0; k < rows_.num_pieces; ++k) {
        const int8_t* from = rows_.pieces[k] + row * rows_.spacing.step;
        for (uint32_t at = 0; at < rows_.piece_depth; at += kStepDepth, to += kStepDepth) {
          const __mmask64 mask = first_lanes(rows_.piece_depth - at);
          _mm512_storeu_si512(to, _mm512_maskz_loadu_epi8(mask, from + at));
        }
      }
    }
  }

  const GemmRows& rows_;
  int run_, run_groups_, num_groups_, first_copied_;
  const int8_t* copied_ = nullptr;
  size_t copied_stride_;
  size_t* offsets_;
};

}  // namespace
}  // namespace nq
