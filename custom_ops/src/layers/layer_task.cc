#include "layers/layer_task.h"

namespace nq {
namespace {

constexpr uint32_t kChannelPadding = 64;

}  // namespace

PackedWeight weight_at(const NestedWeight& weight, int level) {
  PackedWeight packed;
  packed.block = weight.block;
  packed.level = level;
  for (int k = 0; k <= level; ++k) packed.levels[k] = weight.levels[k].data;
  return packed;
}

size_t padded_channels(const OptionBlock& block) { return align(block.channels, kChannelPadding); }

}  // namespace nq
