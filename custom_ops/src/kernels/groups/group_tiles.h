// What the kernels for groups share: the walk over a tile's rows, the choice of how its codes are read, and from sums
// to rows of output. Textual for files with an instruction set's flags: everything has internal linkage.
#pragma once

#include <type_traits>

#include "kernels/groups/groups.h"

namespace nq {
namespace {

// Of 16 channels; compilers split it into the vectors that there are.
using Channels = float __attribute__((vector_size(kMatrixChannels * sizeof(float))));

// Sums of a row by 16 channels to its output.
[[gnu::always_inline]] inline void finish_row(const float* sums, const GroupOutput& output, int row) {
  Channels values, scale, bias;
  std::memcpy(&values, sums, sizeof(values));
  std::memcpy(&scale, output.scale, sizeof(scale));
  std::memcpy(&bias, output.bias, sizeof(bias));
  values = values * scale + bias;
  const Channels low = output.low - Channels{}, high = output.high - Channels{};
  const Channels raised = values < low ? low : values;
  const Channels clamped = raised > high ? high : raised;
  float* to = output.out + static_cast<size_t>(row) * output.stride;
  if (output.channels == kMatrixChannels) {
    std::memcpy(to, &clamped, sizeof(clamped));
  } else {
    std::memcpy(to, &clamped, output.channels * sizeof(float));
  }
}

// Calls multiply(count, rows, sums) for pieces of as many rows as kCounts says, which are descending and end with 1:
// sums of 16 channels of each row, by the number of rows as a constant.
template <int... kCounts, typename Multiply>
void walk_rows(const GroupTile& tile, const GroupOutput& output, const Multiply& multiply) {
  const GroupRows& rows = tile.rows;
  const size_t a_row = rows.depth / tile.group_size;
  int row = 0;
  const auto walk = [&](auto count) {
    for (; rows.num_rows - row >= count; row += count) {
      const auto at = static_cast<size_t>(row);
      alignas(kLineBytes) float sums[count * kMatrixChannels];
      multiply(count,
               GroupRows{rows.codes + at * rows.depth, rows.scales + at * a_row, rows.sums + at * a_row * kGroupSums,
                         rows.depth, count},
               sums);
      for (int r = 0; r < count; ++r) finish_row(sums + r * kMatrixChannels, output, row + r);
    }
  };
  (walk(std::integral_constant<int, kCounts>{}), ...);
}

// Calls multiply with what reads the tile's codes: unpacked, or packed as one level of 4 bits or two.
template <typename Unpacked, typename OneLevel, typename TwoLevels, typename Multiply>
void with_source(const GroupTile& tile, const Multiply& multiply) {
  if (tile.codes != nullptr) return multiply(Unpacked(tile));
  tile.levels.num_levels == 1 ? multiply(OneLevel(tile)) : multiply(TwoLevels(tile));
}

}  // namespace
}  // namespace nq
