// Without dot products: 8 weights, 2 channels by 4 of the depth as they lie, times 4 activations twice over are
// products of 16 bits, which are added to an accumulator in pairs. Summing two products in 16 bits first would take a
// quarter fewer instructions, but -128 * -128 twice overflows there, and a Cortex-A72, which multiplies in one of two
// vector pipes and adds pairs in the other, would multiply no faster.
//
// A tile is up to 4 rows by 8 channels, in 16 accumulators, with 16 activations of each row; 32-bit Arm, with half the
// registers, has room for 2 rows.
#if defined(__ARM_NEON)
#include "kernels/gemm/gemm_neon.h"

#include "kernels/cpu.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neon;

namespace {

constexpr int kVectors = 4;  // of accumulators in a row: 2 channels, each with the sums of 2 pairs

template <int kNumRows>
struct PairSums {
  int32x4_t of[kNumRows][kVectors];
};

// Four activations in every lane.
template <int kLane>
inline int8x16_t broadcast(int8x16_t activations) {
  const int32x4_t fours = vreinterpretq_s32_s8(activations);
#if defined(__aarch64__)
  return vreinterpretq_s8_s32(vdupq_laneq_s32(fours, kLane));
#else
  return vreinterpretq_s8_s32(vdupq_lane_s32(kLane < 2 ? vget_low_s32(fours) : vget_high_s32(fours), kLane % 2));
#endif
}

inline int16x8_t multiply_high(int8x16_t a, int8x16_t b) {
#if defined(__aarch64__)
  return vmull_high_s8(a, b);
#else
  return vmull_s8(vget_high_s8(a), vget_high_s8(b));
#endif
}

inline void add_products(int16x8_t products, int32x4_t* sums) {
  int32x4_t added = vpadalq_s16(*sums, products);
  // GCC would put all products before the sums and then lack registers for either.
  asm volatile("" : "+w"(added));
  *sums = added;
}

template <int kLane, int kNumRows>
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const int8x16_t (&activations)[kNumRows],
                                                  PairSums<kNumRows>* sums) {
  const int8x16_t weights[] = {vld1q_s8(codes), vld1q_s8(codes + 16)};
#pragma GCC unroll 4
  for (int r = 0; r < kNumRows; ++r) {
    const int8x16_t activation = broadcast<kLane>(activations[r]);
#pragma GCC unroll 2
    for (int v = 0; v < 2; ++v) {
      add_products(vmull_s8(vget_low_s8(weights[v]), vget_low_s8(activation)), &sums->of[r][2 * v]);
      add_products(multiply_high(weights[v], activation), &sums->of[r][2 * v + 1]);
    }
  }
}

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_piece(const int8_t* codes, const int8_t* const* piece, uint32_t num_pieces,
                                                  uint32_t piece_depth, PairSums<kNumRows>* sums) {
  int8x16_t activations[kNumRows];
  const uint32_t whole = piece_depth / kStep * kStep;
  const RowPointers<kNumRows> rows(piece, num_pieces);
  for (uint32_t at = 0; at < whole; at += kStep, codes += kStep * kMatrixChannels) {
    rows.load(at, activations);
    multiply_block<0>(codes, activations, sums);
    multiply_block<1>(codes + kLineBytes, activations, sums);
    multiply_block<2>(codes + 2 * kLineBytes, activations, sums);
    multiply_block<3>(codes + 3 * kLineBytes, activations, sums);
  }
  for (uint32_t at = whole; at < piece_depth; at += kDepthPerBlock, codes += kLineBytes) {
    rows.load_four(at, activations);
    multiply_block<0>(codes, activations, sums);
  }
}

inline int32x4_t add_pairs(int32x4_t a, int32x4_t b) {
#if defined(__aarch64__)
  return vpaddq_s32(a, b);
#else
  return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

struct Products {
#if defined(__aarch64__)
  static constexpr int kRows = 4;
#else
  static constexpr int kRows = 2;
#endif

  template <int kNumRows>
  [[gnu::always_inline]] static inline Sums<kNumRows> multiply(const GemmTile& tile, uint32_t channel) {
    const GemmRows& rows = tile.rows;
    const int8_t* codes = codes_of(tile, channel);
    PairSums<kNumRows> pairs;
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) pairs.of[r][v] = vdupq_n_s32(0);
    }
    for (uint32_t k = 0; k < rows.num_pieces; ++k, codes += size_t{rows.piece_depth} * kMatrixChannels) {
      multiply_piece(codes, rows.pieces + k, rows.num_pieces, rows.piece_depth, &pairs);
    }
    const EightSums bias = load_sums(tile.bias + channel);
    Sums<kNumRows> sums;
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
      sums.of[r] = {vaddq_s32(bias.first, add_pairs(pairs.of[r][0], pairs.of[r][1])),
                    vaddq_s32(bias.second, add_pairs(pairs.of[r][2], pairs.of[r][3]))};
    }
    return sums;
  }
};

}  // namespace

constexpr GemmKernel gemm_neon = [] {
  GemmKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.rows = Products::kRows;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_neon;
  kernel.multiply = multiply<Products>;
  kernel.sums.accumulate = accumulate<Products>;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
#endif
