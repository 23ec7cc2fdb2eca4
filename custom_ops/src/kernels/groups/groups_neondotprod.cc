// A vector of codes is 4 channels by 4 of the depth, and a lane of a row's 16 activations multiplies it as it lies.
// Nibbles become codes in registers, by shifts that insert. The sums of the weights, which the zero points multiply,
// are products with ones.
#if defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>

#include "kernels/cpu.h"
#include "kernels/groups/group_tiles.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GroupKernel groups_neondotprod;

namespace {

constexpr int kRows = 4, kPackedRows = 4;
constexpr int kVectors = 4;       // of 4 channels
constexpr int kVectorBytes = 16;  // of codes: 4 channels by 4 of the depth
constexpr int kLines = 4;         // of a level of 4 bits: two blocks each

// A vector of each of two blocks of codes.
struct Unpacked {
  explicit Unpacked(const GroupTile& tile) : codes(tile.codes) {}

  [[gnu::always_inline]] inline void load(int pair, int vector, int8x16_t (&pieces)[2]) const {
    pieces[0] = vld1q_s8(codes + pair * 2 * kLineBytes + vector * kVectorBytes);
    pieces[1] = vld1q_s8(codes + (pair * 2 + 1) * kLineBytes + vector * kVectorBytes);
  }
  void advance() { codes += kSuperblockWeights; }

  const int8_t* codes;
};

struct OneLevel {
  explicit OneLevel(const GroupTile& tile)
      : bytes(tile.levels.data[0]),
        middle(vreinterpretq_u8_u16(vdupq_n_u16(static_cast<uint16_t>(tile.even | tile.odd << 8)))) {}

  [[gnu::always_inline]] inline void load(int pair, int vector, int8x16_t (&pieces)[2]) const {
    const uint8x16_t packed = vld1q_u8(bytes + pair * kLineBytes + vector * kVectorBytes);
    pieces[0] = vreinterpretq_s8_u8(vsliq_n_u8(middle, packed, 4));
    pieces[1] = vreinterpretq_s8_u8(vbslq_u8(vdupq_n_u8(0xF0), packed, middle));
  }
  void advance() { bytes += kLines * kLineBytes; }

  const uint8_t* bytes;
  uint8x16_t middle;
};

struct TwoLevels {
  explicit TwoLevels(const GroupTile& tile) : upper(tile.levels.data[0]), lower(tile.levels.data[1]) {}

  [[gnu::always_inline]] inline void load(int pair, int vector, int8x16_t (&pieces)[2]) const {
    const int at = pair * kLineBytes + vector * kVectorBytes;
    const uint8x16_t above = vld1q_u8(upper + at), below = vld1q_u8(lower + at);
    pieces[0] = vreinterpretq_s8_u8(vsliq_n_u8(below, above, 4));
    pieces[1] = vreinterpretq_s8_u8(vsriq_n_u8(above, below, 4));
  }
  void advance() {
    upper += kLines * kLineBytes;
    lower += kLines * kLineBytes;
  }

  const uint8_t *upper, *lower;
};

inline float32x4_t load_scales(const uint8_t* f16) {
  uint16x4_t halves;
  std::memcpy(&halves, f16, sizeof(halves));
  return vmulq_n_f32(vreinterpretq_f32_u32(vshll_n_u16(halves, 13)), 0x1p112f);
}

// Two blocks, which are two lanes of the rows' activations.
template <int kLane, typename Source, int kNumRows>
[[gnu::always_inline]] inline void add_pair(const Source& source, int pair, const int8x16_t (&activations)[kNumRows],
                                            int32x4_t (&dots)[kNumRows][kVectors], int32x4_t (&weights)[kVectors]) {
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) {
    int8x16_t pieces[2];
    source.load(pair, v, pieces);
    weights[v] = vdotq_s32(vdotq_s32(weights[v], pieces[0], vdupq_n_s8(1)), pieces[1], vdupq_n_s8(1));
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
      dots[r][v] = vdotq_laneq_s32(dots[r][v], pieces[0], activations[r], kLane);
      dots[r][v] = vdotq_laneq_s32(dots[r][v], pieces[1], activations[r], kLane + 1);
    }
  }
}

template <int kNumRows, typename Source>
void multiply_rows(const GroupTile& tile, Source source, const GroupRows& rows, float* out) {
  const size_t depth = rows.depth, a_row = depth / tile.group_size;
  const int8_t* codes = rows.codes;
  const int32_t* row_sums = rows.sums;
  const float* row_scales = rows.scales;
  float32x4_t sums[kNumRows][kVectors];
#pragma GCC unroll 4
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) sums[r][v] = vdupq_n_f32(0);
  }
  const uint8_t* scales = tile.scales;
  for (size_t at = 0; at < depth; scales += kMatrixChannels * sizeof(uint16_t), ++row_scales) {
    int32x4_t dots[kNumRows][kVectors], weights[kVectors];
    for (int32x4_t& each : weights) each = vdupq_n_s32(0);
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) dots[r][v] = vdupq_n_s32(0);
    }
    for (const size_t end = at + tile.group_size; at < end; at += kMatrixDepth) {
#pragma GCC unroll 2
      for (size_t half = 0; half < 2; ++half) {
        int8x16_t activations[kNumRows];
#pragma GCC unroll 4
        for (size_t r = 0; r < kNumRows; ++r) activations[r] = vld1q_s8(codes + r * depth + at + half * 16);
        const int pair = static_cast<int>(half) * 2;
        add_pair<0>(source, pair, activations, dots, weights);
        add_pair<2>(source, pair + 1, activations, dots, weights);
      }
      source.advance();
    }
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const float32x4_t scale = load_scales(scales + v * 4 * sizeof(uint16_t));
#pragma GCC unroll 4
      for (size_t r = 0; r < kNumRows; ++r) {
        const float32x4_t both = vmulq_n_f32(scale, row_scales[r * a_row]);
        const int32x4_t dot = vmlaq_n_s32(dots[r][v], weights[v], row_sums[r * a_row * kGroupSums + kMinusZero]);
        sums[r][v] = vaddq_f32(sums[r][v], vmulq_f32(vcvtq_f32_s32(dot), both));
      }
    }
    row_sums += kGroupSums;
  }
#pragma GCC unroll 4
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) vst1q_f32(out + r * kMatrixChannels + v * 4, sums[r][v]);
  }
}

void multiply(const GroupTile& tile, const GroupOutput& output) {
  with_source<Unpacked, OneLevel, TwoLevels>(tile, [&](auto source) {
    walk_rows<4, 2, 1>(tile, output, [&](auto count, const GroupRows& rows, float* sums) {
      multiply_rows<count>(tile, source, rows, sums);
    });
  });
}

}  // namespace

constexpr GroupKernel groups_neondotprod = [] {
  GroupKernel kernel;
  kernel.isa = "neondotprod";
  kernel.supported = has_neondotprod;
  kernel.rows = kRows;
  kernel.unpack = unpack_neon;
  kernel.packed_rows = kPackedRows;
  kernel.multiply = multiply;
  return kernel;
}();

}  // namespace nq
#endif
