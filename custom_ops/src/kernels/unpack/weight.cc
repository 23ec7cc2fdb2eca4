#include "kernels/unpack/weight.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nq {

void unpack_base(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);

namespace {

constexpr uint64_t kBatch = 8;  // superblocks unpacked at a time, so that codes stay in the L1 cache

// A sink takes `count` codes that follow each other in the output from `offset` on. The first belongs to `channel`,
// each next one to the channel `step` further.
struct Int8Sink {
  int8_t* out;
  void operator()(const int8_t* codes, size_t count, size_t offset, uint32_t, uint32_t) const {
    std::memcpy(out + offset, codes, count);
  }
};

struct Float32Sink {
  float* out;
  const float* scale;
  void operator()(const int8_t* codes, size_t count, size_t offset, uint32_t channel, uint32_t step) const {
    for (size_t i = 0; i < count; ++i) out[offset + i] = static_cast<float>(codes[i]) * scale[channel + i * step];
  }
};

struct SumSink {
  ChannelSums* all;
  void operator()(const int8_t* codes, size_t count, size_t, uint32_t channel, uint32_t step) const {
    int32_t *sums = all->sums.data() + channel, *magnitudes = all->magnitudes.data() + channel;
    int8_t least = all->least;
    for (size_t i = 0; i < count; ++i) {
      sums[i * step] += codes[i];
      magnitudes[i * step] += codes[i] < 0 ? -codes[i] : codes[i];
      least = std::min(least, codes[i]);
    }
    all->least = least;
  }
};

// Loops over pairs of channels, 8 codes at a time: a first inference reads every weight here, and by one code after the
// other that took as long as two later inferences.
typedef int8_t Codes8 __attribute__((vector_size(8)));
typedef int16_t Words8 __attribute__((vector_size(16)));
static_assert(2 * kDepthPerBlock == sizeof(Codes8), "a pair of channels lies together");

inline Words8 lesser(Words8 a, Words8 b) { return a < b ? a : b; }

// `lines` of 64 codes, each with kDepthPerBlock of 16 channels; so few that sums fit in 16 bits.
void add_lines(const int8_t* codes, size_t lines, uint32_t first_channel, uint32_t num_channels, ChannelSums* all) {
  for (uint32_t pair = 0; pair < num_channels; pair += 2, codes += sizeof(Codes8)) {
    Words8 sums = {}, negative = {}, least = {};
    for (size_t line = 0; line < lines; ++line) {
      Codes8 bytes;
      std::memcpy(&bytes, codes + line * kLineBytes, sizeof(bytes));
      const Words8 words = __builtin_convertvector(bytes, Words8), below_zero = lesser(words, Words8{});
      sums += words;
      negative += below_zero;
      least = lesser(least, words);
    }
    const uint32_t num_words = std::min<uint32_t>(num_channels - pair, 2) * kDepthPerBlock;
    for (uint32_t i = 0; i < num_words; ++i) {
      const uint32_t channel = first_channel + pair + i / kDepthPerBlock;
      all->sums[channel] += sums[i];
      all->magnitudes[channel] += sums[i] - 2 * negative[i];
      all->least = std::min(all->least, static_cast<int8_t>(least[i]));
    }
  }
}

template <typename Sink>
void write_matrix_superblock(const OptionBlock& block, uint64_t superblock, const int8_t* codes, const Sink& sink) {
  const uint64_t depth_blocks = align(block.depth, kMatrixDepth) / kMatrixDepth;
  const auto first_channel = static_cast<uint32_t>(superblock / depth_blocks * kMatrixChannels);
  const auto first_depth = static_cast<uint32_t>(superblock % depth_blocks * kMatrixDepth);
  const uint32_t num_channels = std::min<uint32_t>(kMatrixChannels, block.channels - first_channel);
  const uint32_t count = std::min<uint32_t>(kMatrixDepth, block.depth - first_depth);
  for (uint32_t c = 0; c < num_channels; ++c) {
    const uint32_t channel = first_channel + c;
    const size_t row = size_t{channel} * block.depth + first_depth;
    const int8_t* from = codes + c * kDepthPerBlock;
    uint32_t done = 0;
    for (; done + kDepthPerBlock <= count; done += kDepthPerBlock, from += kLineBytes) {
      sink(from, kDepthPerBlock, row + done, channel, 0);
    }
    if (done < count) sink(from, count - done, row + done, channel, 0);
  }
}

template <typename Sink>
void write_depthwise_superblock(const OptionBlock& block, uint64_t superblock, const int8_t* codes, const Sink& sink) {
  const uint64_t num_blocks = align(block.channels, kDepthwiseChannels) / kDepthwiseChannels * block.depth;
  for (int i = 0; i < kBlocksPerSuperblock; ++i) {
    const uint64_t index = superblock * kBlocksPerSuperblock + i;
    if (index >= num_blocks) return;  // padding
    const auto channel = static_cast<uint32_t>(index / block.depth * kDepthwiseChannels);
    const uint64_t tap = index % block.depth;
    const uint32_t count = std::min<uint32_t>(kDepthwiseChannels, block.channels - channel);
    sink(codes + i * kLineBytes, count, tap * block.channels + channel, channel, 1);
  }
}

template <typename Sink>
void write_codes(UnpackFn unpack, const OptionBlock& block, const uint8_t* const* levels, int level, const Sink& sink) {
  PackedWeight weight = {block, {}, level};
  std::copy(levels, levels + level + 1, weight.levels);
  alignas(kLineBytes) int8_t codes[kBatch * kSuperblockWeights];
  const bool matrix = block.layout == Layout::kMatrix;
  // A depthwise superblock starts at any tap, so each has a middle of its own.
  const uint64_t batch = matrix ? kBatch : 1;
  const uint64_t total = num_superblocks(block);
  for (uint64_t first = 0; first < total; first += batch) {
    const uint64_t count = std::min(batch, total - first);
    unpack(packed_levels(weight, first), cell_middle(block, level, first), count, codes);
    for (uint64_t i = 0; i < count; ++i) {
      const auto write = matrix ? write_matrix_superblock<Sink> : write_depthwise_superblock<Sink>;
      write(block, first + i, codes + i * kSuperblockWeights, sink);
    }
  }
}

// Batches of a block of channels together; what its depth has beyond whole lines goes the slow way.
void add_matrix(const PackedWeight& weight, ChannelSums* sums) {
  const OptionBlock& block = weight.block;
  alignas(kLineBytes) int8_t codes[kBatch * kSuperblockWeights];
  const uint64_t total = align(block.depth, kMatrixDepth) / kMatrixDepth, num_lines = block.depth / kDepthPerBlock;
  const CellMiddle middle = cell_middle(block, weight.level, 0);
  for (uint32_t channel = 0; channel < block.channels; channel += kMatrixChannels) {
    const uint32_t num_channels = std::min<uint32_t>(kMatrixChannels, block.channels - channel);
    for (uint64_t first = 0; first < total; first += kBatch) {
      const uint64_t count = std::min(kBatch, total - first), line = first * kBlocksPerSuperblock;
      unpack_base(packed_levels(weight, channel / kMatrixChannels * total + first), middle, count, codes);
      const size_t lines = std::min(count * kBlocksPerSuperblock, num_lines - line);
      add_lines(codes, lines, channel, num_channels, sums);
      if (first + count < total || block.depth % kDepthPerBlock == 0) continue;
      const SumSink sink = {sums};
      for (uint32_t c = 0; c < num_channels; ++c) {
        const int8_t* rest = codes + lines * kLineBytes + c * kDepthPerBlock;
        sink(rest, block.depth % kDepthPerBlock, 0, channel + c, 0);
      }
    }
  }
}

// One channel of a matrix, from its first depth index on.
template <typename Sink>
void write_row_codes(UnpackFn unpack, const OptionBlock& block, const uint8_t* const* levels, int level,
                     uint32_t channel, const Sink& sink) {
  PackedWeight weight = {block, {}, level};
  std::copy(levels, levels + level + 1, weight.levels);
  alignas(kLineBytes) int8_t codes[kBatch * kSuperblockWeights];
  const uint64_t total = align(block.depth, kMatrixDepth) / kMatrixDepth;
  const uint64_t start = channel / kMatrixChannels * total;
  for (uint64_t first = 0; first < total; first += kBatch) {
    const uint64_t count = std::min(kBatch, total - first);
    unpack(packed_levels(weight, start + first), cell_middle(block, level, start + first), count, codes);
    const auto begin = static_cast<uint32_t>(first * kMatrixDepth);
    const auto end = static_cast<uint32_t>(std::min<uint64_t>(block.depth, (first + count) * kMatrixDepth));
    const int8_t* from = codes + channel % kMatrixChannels * kDepthPerBlock;
    for (uint32_t depth = begin; depth < end; depth += kDepthPerBlock, from += kLineBytes) {
      sink(from, std::min<uint32_t>(kDepthPerBlock, end - depth), depth, channel, 0);
    }
  }
}

// TFLite accumulates in int32: a correction that leaves its range stops at the end of it.
int32_t add_correction(int32_t bias, float correction) {
  const double sum = static_cast<double>(bias) + static_cast<double>(std::nearbyint(correction));
  const double low = std::numeric_limits<int32_t>::min(), high = std::numeric_limits<int32_t>::max();
  return static_cast<int32_t>(std::min(std::max(sum, low), high));
}

const int8_t* bias_deltas(const OptionBlock& block, const uint8_t* level_data, int level) {
  return reinterpret_cast<const int8_t*>(level_data + packed_bytes(block, level));
}

}  // namespace

CellMiddle cell_middle(const OptionBlock& block, int level, uint64_t superblock) {
  CellMiddle middle;
  const int missing = block.full_bits - used_bits(block, level);
  if (missing == 0) return middle;
  const uint64_t even = uint64_t{1} << (missing - 1) << (8 - block.full_bits);
  const uint64_t odd = ((uint64_t{1} << (missing - 1)) - 1) << (8 - block.full_bits);
  if (block.layout == Layout::kMatrix) {
    for (uint64_t& word : middle.block) word = (even | odd << 8) * 0x0001000100010001u;
    return middle;
  }
  uint64_t tap = superblock * kBlocksPerSuperblock % block.depth;
  for (uint64_t& word : middle.block) {
    word = (tap % 2 == 0 ? even : odd) * 0x0101010101010101u;
    if (++tap == block.depth) tap = 0;
  }
  return middle;
}

void write_weight(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                  int8_t* out) {
  write_codes(kernel.unpack, block, levels, level, Int8Sink{out});
}

void write_weight(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                  const float* scale, float* out) {
  write_codes(kernel.unpack, block, levels, level, Float32Sink{out, scale});
}

void write_row(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
               uint32_t channel, int8_t* out) {
  write_row_codes(kernel.unpack, block, levels, level, channel, Int8Sink{out});
}

void write_row(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
               uint32_t channel, const float* scale, float* out) {
  write_row_codes(kernel.unpack, block, levels, level, channel, Float32Sink{out, scale});
}

void write_bias(const OptionBlock& block, const uint8_t* level_data, int level, const int32_t* bias, int32_t* out) {
  const float step = block.levels[level].bias_step;
  if (step == 0) {
    std::copy(bias, bias + block.channels, out);
    return;
  }
  const int8_t* delta = bias_deltas(block, level_data, level);
  for (uint32_t c = 0; c < block.channels; ++c) out[c] = add_correction(bias[c], static_cast<float>(delta[c]) * step);
}

void write_bias(const OptionBlock& block, const uint8_t* level_data, int level, const float* scale, const float* bias,
                float* out) {
  const float step = block.levels[level].bias_step;
  if (step == 0) {
    std::copy(bias, bias + block.channels, out);
    return;
  }
  const int8_t* delta = bias_deltas(block, level_data, level);
  for (uint32_t c = 0; c < block.channels; ++c) out[c] = bias[c] + static_cast<float>(delta[c]) * step * scale[c];
}

ChannelSums channel_sums(const PackedWeight& weight) {
  const size_t padded = align(weight.block.channels, kDepthwiseChannels);
  ChannelSums sums;
  sums.sums.resize(padded);
  sums.magnitudes.resize(padded);
  if (weight.block.layout == Layout::kMatrix) {
    add_matrix(weight, &sums);
  } else {
    write_codes(unpack_base, weight.block, weight.levels, weight.level, SumSink{&sums});
  }
  return sums;
}

namespace {

// Index of a block's weight in TFLite's order; false for padding.
bool find_weight(const OptionBlock& block, uint64_t index, uint32_t byte, uint64_t* weight) {
  if (block.layout == Layout::kDepthwise) {
    const uint64_t channel = index / block.depth * kDepthwiseChannels + byte;
    *weight = index % block.depth * block.channels + channel;
    return index / block.depth * kDepthwiseChannels < block.channels && channel < block.channels;
  }
  const uint64_t blocks_a_row = align(block.depth, kMatrixDepth) / kDepthPerBlock;
  const uint64_t channel = index / blocks_a_row * kMatrixChannels + byte / kDepthPerBlock;
  const uint64_t depth = index % blocks_a_row * kDepthPerBlock + byte % kDepthPerBlock;
  *weight = channel * block.depth + depth;
  return channel < block.channels && depth < block.depth;
}

}  // namespace

void pack_weight(const OptionBlock& block, const int8_t* weight, uint8_t* const* levels) {
  const uint64_t superblocks = num_superblocks(block);
  for (int k = 0; k < 2; ++k) std::memset(levels[k], 0, superblocks * 4 * kLineBytes);
  for (uint64_t index = 0; index < superblocks * kBlocksPerSuperblock; ++index) {
    const uint64_t line = index / 2 * kLineBytes;  // two blocks of 4 bits a line
    const int shift = static_cast<int>(index % 2) * 4;
    for (uint32_t byte = 0; byte < kLineBytes; ++byte) {
      uint64_t at = 0;
      if (!find_weight(block, index, byte, &at)) continue;
      const auto code = static_cast<uint8_t>(weight[at]);
      levels[0][line + byte] |= static_cast<uint8_t>((code >> 4) << shift);
      levels[1][line + byte] |= static_cast<uint8_t>((code & 15) << shift);
    }
  }
}

}  // namespace nq
