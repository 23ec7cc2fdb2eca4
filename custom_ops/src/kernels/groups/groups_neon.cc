// Codes are multiplied as nibbles, the upper ones signed: 16 bits hold the sum of a whole superblock's products, so
// that two channels by 4 of the depth are one instruction. The upper nibbles count sixteenfold; what the middle of a
// cell adds is known from the activations' sums. A zero point multiplies sums of nibbles, which 8 bits hold for a whole
// superblock. Four channels at a time, for 32-bit Arm's few registers.
#if defined(NQ_NEON)
#include <arm_neon.h>

#include "kernels/cpu.h"
#include "kernels/groups/group_tiles.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GroupKernel groups_neon;

namespace {

constexpr int kRows = 4, kPackedRows = 4;
constexpr int kVectors = 4;       // of 4 channels
constexpr int kVectorBytes = 16;  // of codes: 4 channels by 4 of the depth
constexpr int kLines = 4;         // of a level of 4 bits: two blocks each

// The nibbles of a vector of each of two blocks, upper and, with two levels, lower ones.
struct Unpacked {
  static constexpr int kLevels = 2;
  explicit Unpacked(const GroupTile& tile) : codes(tile.codes) {}

  [[gnu::always_inline]] inline void load(int pair, int vector, int8x16_t (&nibbles)[2][kLevels]) const {
    for (int i = 0; i < 2; ++i) {
      const int8x16_t code = vld1q_s8(codes + (pair * 2 + i) * kLineBytes + vector * kVectorBytes);
      nibbles[i][0] = vshrq_n_s8(code, 4);
      nibbles[i][1] = vandq_s8(code, vdupq_n_s8(15));
    }
  }
  void advance() { codes += kSuperblockWeights; }
  static int32_t middle(const GroupTile&, const int32_t*) { return 0; }

  const int8_t* codes;
};

template <int kNumLevels>
struct Packed {
  static constexpr int kLevels = kNumLevels;
  explicit Packed(const GroupTile& tile) {
    for (int k = 0; k < kLevels; ++k) bytes[k] = tile.levels.data[k];
  }

  [[gnu::always_inline]] inline void load(int pair, int vector, int8x16_t (&nibbles)[2][kLevels]) const {
    const int at = pair * kLineBytes + vector * kVectorBytes;
    const int8x16_t upper = vreinterpretq_s8_u8(vld1q_u8(bytes[0] + at));
    nibbles[0][0] = vshrq_n_s8(vshlq_n_s8(upper, 4), 4);
    nibbles[1][0] = vshrq_n_s8(upper, 4);
    if constexpr (kLevels == 2) {
      const uint8x16_t lower = vld1q_u8(bytes[1] + at);
      nibbles[0][1] = vreinterpretq_s8_u8(vandq_u8(lower, vdupq_n_u8(15)));
      nibbles[1][1] = vreinterpretq_s8_u8(vshrq_n_u8(lower, 4));
    }
  }
  void advance() {
    for (int k = 0; k < kLevels; ++k) bytes[k] += kLines * kLineBytes;
  }
  // With one level in use the middle stands in for the lower nibbles.
  static int32_t middle(const GroupTile& tile, const int32_t* sums) {
    return kLevels == 1 ? tile.even * sums[kEven] + tile.odd * sums[kOdd] : 0;
  }

  const uint8_t* bytes[kLevels];
};

inline int8x8_t four_twice(const int8_t* activations) {
  int32_t all;
  std::memcpy(&all, activations, sizeof(all));
  return vreinterpret_s8_s32(vdup_n_s32(all));
}

// Of two vectors with two sums a channel: one a channel.
inline int32x4_t to_32(int16x8_t low, int16x8_t high) {
  const int32x4_t a = vpaddlq_s16(low), b = vpaddlq_s16(high);
  return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
}

inline float32x4_t load_scales(const uint8_t* f16) {
  uint16x4_t halves;
  std::memcpy(&halves, f16, sizeof(halves));
  return vmulq_n_f32(vreinterpretq_f32_u32(vshll_n_u16(halves, 13)), 0x1p112f);
}

// Sums of a superblock's nibbles, 4 a channel, times minus the zero point: one a channel. Products of pairs of them are
// within 16 bits.
inline int32x4_t shifted(int8x16_t weights, int16_t minus_zero) {
  return vpaddlq_s16(vmulq_n_s16(vpaddlq_s8(weights), minus_zero));
}

// Adds a superblock of 4 channels to the sums of a row.
template <typename Source>
[[gnu::always_inline]] inline int32x4_t add_superblock(const Source& source, int vector, const int8_t* row,
                                                       int16_t minus_zero, int32x4_t dots) {
  int16x8_t parts[Source::kLevels][2];
  int8x16_t weights[Source::kLevels];
  for (int k = 0; k < Source::kLevels; ++k) {
    parts[k][0] = parts[k][1] = vdupq_n_s16(0);
    weights[k] = vdupq_n_s8(0);
  }
#pragma GCC unroll 4
  for (int pair = 0; pair < kLines; ++pair) {
    int8x16_t nibbles[2][Source::kLevels];
    source.load(pair, vector, nibbles);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const int8x8_t activations = four_twice(row + (pair * 2 + i) * kDepthPerBlock);
#pragma GCC unroll 2
      for (int k = 0; k < Source::kLevels; ++k) {
        parts[k][0] = vmlal_s8(parts[k][0], vget_low_s8(nibbles[i][k]), activations);
        parts[k][1] = vmlal_s8(parts[k][1], vget_high_s8(nibbles[i][k]), activations);
        weights[k] = vaddq_s8(weights[k], nibbles[i][k]);
      }
    }
  }
  const int32x4_t upper = vaddq_s32(to_32(parts[0][0], parts[0][1]), shifted(weights[0], minus_zero));
  dots = vaddq_s32(dots, vshlq_n_s32(upper, 4));
  if constexpr (Source::kLevels == 2) {
    dots = vaddq_s32(dots, vaddq_s32(to_32(parts[1][0], parts[1][1]), shifted(weights[1], minus_zero)));
  }
  return dots;
}

// One row.
template <int, typename Source>
void multiply_rows(const GroupTile& tile, Source source, const GroupRows& rows, float* out) {
  const int8_t* codes = rows.codes;
  const int32_t* row_sums = rows.sums;
  const float* row_scales = rows.scales;
  float32x4_t sums[kVectors];
  for (float32x4_t& each : sums) each = vdupq_n_f32(0);
  const uint8_t* scales = tile.scales;
  for (size_t at = 0; at < rows.depth;
       scales += kMatrixChannels * sizeof(uint16_t), row_sums += kGroupSums, ++row_scales) {
    int32x4_t dots[kVectors];
    for (int32x4_t& each : dots) each = vdupq_n_s32(Source::middle(tile, row_sums));
    const auto minus_zero = static_cast<int16_t>(row_sums[kMinusZero]);
    for (const size_t end = at + tile.group_size; at < end; at += kMatrixDepth) {
      // Unrolled, it makes Clang keep all activations for all vectors, and spill them.
#pragma GCC unroll 1
      for (int v = 0; v < kVectors; ++v) dots[v] = add_superblock(source, v, codes + at, minus_zero, dots[v]);
      source.advance();
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const float32x4_t scale = vmulq_n_f32(load_scales(scales + v * 4 * sizeof(uint16_t)), *row_scales);
      sums[v] = vaddq_f32(sums[v], vmulq_f32(vcvtq_f32_s32(dots[v]), scale));
    }
  }
  for (int v = 0; v < kVectors; ++v) vst1q_f32(out + v * 4, sums[v]);
}

void multiply(const GroupTile& tile, const GroupOutput& output) {
  with_source<Unpacked, Packed<1>, Packed<2>>(tile, [&](auto source) {
    walk_rows<1>(tile, output, [&](auto count, const GroupRows& rows, float* sums) {
      multiply_rows<count>(tile, source, rows, sums);
    });
  });
}

}  // namespace

constexpr GroupKernel groups_neon = [] {
  GroupKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.rows = kRows;
  kernel.unpack = unpack_neon;
  kernel.packed_rows = kPackedRows;
  kernel.multiply = multiply;
  return kernel;
}();

}  // namespace nq
#endif
