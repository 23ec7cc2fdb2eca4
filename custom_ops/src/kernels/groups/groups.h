// Weights with scales for groups of a channel's inputs (FORMAT.md, section 4.6): their scales, their values, and
// matrix kernels for them: int8 rows times a packed weight. They know neither files nor TFLite.
//
// ISA "scalar" is the specification; every other kernel gives the same bytes, for sums of floats have one order.
// groups_kernels.h lists them all, and drives declarations, dispatch and tests.
#pragma once

#include <cstddef>
#include <cstdint>

#include "format/bytes.h"
#include "kernels/kernel_list.h"
#include "kernels/unpack/packed_weight.h"
#include "kernels/unpack/unpack.h"
#include "status.h"

namespace nq {

struct GroupScales {
  const float* channel;
  const uint8_t* groups;  // f16, of 16 channels for each group of each channel block; checked
};

// 0, or positive and normal; 0 for the channels that pad. `bytes` has those that `block` asks for.
Status check_group_scales(ByteSpan bytes, const OptionBlock& block);

// Exact. Of a checked f16, whose bits are those of a normal float with another bias once they are moved.
inline float group_scale(const uint8_t* f16) {
  const uint32_t bits = uint32_t{load<uint16_t>(f16)} << 13;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value * 0x1p112f;
}

struct ChannelRange {
  uint32_t begin, end;
};

// The values of some channels, `depth` each.
void write_grouped_rows(const UnpackKernel& kernel, const OptionBlock& block, const uint8_t* const* levels, int level,
                        const GroupScales& scales, ChannelRange channels, float* out);

// Of the differences of a group's codes from its zero point: of those with even indices, of those with odd ones, and
// -128 times both, which a kernel starts from that multiplies a weight's codes plus 128; and minus the zero point,
// which multiplies the sum of a channel's weights.
constexpr uint32_t kGroupSums = 4;
enum GroupSum { kEven, kOdd, kShift, kMinusZero };

// Activations, whole rows of them, with groups as the weight has. The depth is a multiple of 32.
struct GroupRows {
  const int8_t* codes;  // depth a row
  const float* scales;  // of each group of each row: real = scale * (code - zero point)
  const int32_t* sums;  // kGroupSums of each group of each row
  uint32_t depth;
  int num_rows;
};

// What a kernel multiplies at a time: some rows by 16 channels.
struct GroupTile {
  PackedLevels levels;  // from the channels' first superblock on
  uint8_t even, odd;    // the middle of a cell
  const int8_t* codes;  // those levels unpacked, the middle in them; null where the kernel multiplies them packed
  const uint8_t* scales;
  uint32_t group_size;
  GroupRows rows;  // num_rows is 1 to the kernel's rows
};

// Where a tile's results go: out[stride * r + c] for the first `channels` of 16.
struct GroupOutput {
  const float *scale, *bias;  // of 16 channels
  float low, high;
  float* out;
  size_t stride;
  uint32_t channels;
};

struct GroupKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  int rows = 1;                   // of a tile
  int packed_rows = 0;            // the most whose products with one level of 4 bits, or two, read the packed bytes
  UnpackFn unpack = nullptr;      // to the codes that `multiply` reads, which it chooses itself

  // dot = sum over a group of (code - zero point) * weight;
  // sum[r][c] = sum over the groups, in order, of float(dot) * (scale * row's scale);
  // out = clamp(sum * scale[c] + bias[c], low, high), each operation rounded by itself.
  void (*multiply)(const GroupTile& tile, const GroupOutput& output) = nullptr;
};

// Channels 16 * first_block to 16 * (first_block + num_blocks) of the output of some rows, those beyond the weight's
// last one left out.
struct GroupTask {
  const PackedWeight& weight;
  const uint8_t* scales;  // of groups
  GroupRows rows;
  uint32_t first_block, num_blocks;
  uint8_t* scratch;  // one thread's: group_scratch_bytes(depth), 64-aligned
};

// What a layer's sums become outputs by.
struct GroupDequantization {
  const float* scale;  // these two are padded to a multiple of 16 channels
  const float* bias;
  float low, high;
};

size_t group_scratch_bytes(uint32_t depth);

// kGroupSums of a group.
void sum_group(const int8_t* codes, size_t group_size, int32_t zero_point, int32_t* sums);

// out[r * channels + c]
void run_groups(const GroupKernel& kernel, const GroupTask& task, const GroupDequantization& dequantization,
                float* out);

}  // namespace nq
