// The specification of the kernels for groups, one product at a time.
#include <algorithm>

#include "kernels/cpu.h"
#include "kernels/groups/groups.h"

namespace nq {

void unpack_reference(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GroupKernel groups_scalar;

namespace {

int32_t dot(const GroupTile& tile, const int8_t* row, int32_t minus_zero, uint32_t channel, uint32_t begin) {
  int32_t sum = 0;
  for (uint32_t i = begin; i < begin + tile.group_size; ++i) {
    const uint32_t at = i / kDepthPerBlock * kLineBytes + channel * kDepthPerBlock + i % kDepthPerBlock;
    sum += tile.codes[at] * (row[i] + minus_zero);
  }
  return sum;
}

void multiply(const GroupTile& tile, const GroupOutput& output) {
  for (int r = 0; r < tile.rows.num_rows; ++r) {
    const auto at = static_cast<size_t>(r);
    const int8_t* row = tile.rows.codes + at * tile.rows.depth;
    const size_t a_row = tile.rows.depth / tile.group_size;
    const float* row_scales = tile.rows.scales + at * a_row;
    const int32_t* row_sums = tile.rows.sums + at * a_row * kGroupSums;
    for (uint32_t c = 0; c < output.channels; ++c) {
      float sum = 0;
      for (uint32_t begin = 0; begin < tile.rows.depth; begin += tile.group_size) {
        const uint32_t group = begin / tile.group_size;
        const float scale = group_scale(tile.scales + (group * kMatrixChannels + c) * sizeof(uint16_t));
        const int32_t product = dot(tile, row, row_sums[group * kGroupSums + kMinusZero], c, begin);
        sum += static_cast<float>(product) * (scale * row_scales[group]);
      }
      const float value = sum * output.scale[c] + output.bias[c];
      output.out[at * output.stride + c] = std::min(std::max(value, output.low), output.high);
    }
  }
}

}  // namespace

constexpr GroupKernel groups_scalar = [] {
  GroupKernel kernel;
  kernel.isa = "scalar";
  kernel.supported = always;
  kernel.unpack = unpack_reference;
  kernel.multiply = multiply;
  return kernel;
}();

}  // namespace nq
