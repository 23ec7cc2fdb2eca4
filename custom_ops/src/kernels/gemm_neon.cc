// Without dot products: 8 weights, 2 channels by 4 of the depth as they lie, times 4 activations twice over are products
// of 16 bits, which are added to an accumulator in pairs. Summing two products in 16 bits first would save a quarter of
// the instructions, but -128 * -128 twice overflows there, and the CPUs that run this are bound by multiplications.
//
// A tile is up to 6 rows by 8 channels; 32-bit Arm, with half the registers, has room for 2.
#if defined(__ARM_NEON)
#include "kernels/cpu.h"
#include "kernels/gemm_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neon;

namespace {

constexpr int kVectors = 4;  // of accumulators in a row: 2 channels, each with the sums of 2 pairs

template <int kNumRows>
struct PairSums {
  int32x4_t of[kNumRows][kVectors];
};

inline int8x8_t half(int8x16_t weights, int which) { return which == 0 ? vget_low_s8(weights) : vget_high_s8(weights); }

inline int8x8_t broadcast(const int8_t* activations) {
  int32_t four;
  std::memcpy(&four, activations, sizeof(four));
  return vreinterpret_s8_s32(vdup_n_s32(four));
}

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_piece(const int8_t* codes, const int8_t* const* piece, uint32_t num_pieces,
                                                  uint32_t piece_depth, PairSums<kNumRows>* sums) {
  const int8_t* rows[kNumRows];
#pragma GCC unroll 6
  for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = piece[r * num_pieces];
  for (uint32_t at = 0; at < piece_depth; at += kDepthPerBlock, codes += kLineBytes) {
    const int8x16_t weights[] = {vld1q_s8(codes), vld1q_s8(codes + 16)};
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      const int8x8_t activation = broadcast(rows[r] + at);
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        const int16x8_t products = vmull_s8(half(weights[v / 2], v % 2), activation);
        sums->of[r][v] = vpadalq_s16(sums->of[r][v], products);
      }
    }
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
  static constexpr int kRows = 6, kPairs = 1;
#else
  static constexpr int kRows = 2, kPairs = 1;
#endif

  template <int kNumRows>
  [[gnu::always_inline]] static inline Sums<kNumRows, kPairs> multiply(const GemmTile& tile, uint32_t channel) {
    const GemmRows& rows = tile.rows;
    const int8_t* codes = tile.codes + channel / kMatrixChannels * tile.block_stride +
                          channel % kMatrixChannels * kDepthPerBlock;
    PairSums<kNumRows> pairs;
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) pairs.of[r][v] = vdupq_n_s32(0);
    }
    for (uint32_t k = 0; k < rows.num_pieces; ++k, codes += size_t{rows.piece_depth} * kMatrixChannels) {
      multiply_piece(codes, rows.pieces + k, rows.num_pieces, rows.piece_depth, &pairs);
    }
    const EightSums bias = load_sums(tile.bias + channel);
    Sums<kNumRows, kPairs> sums;
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      sums.of[r][0] = {vaddq_s32(bias.first, add_pairs(pairs.of[r][0], pairs.of[r][1])),
                       vaddq_s32(bias.second, add_pairs(pairs.of[r][2], pairs.of[r][3]))};
    }
    return sums;
  }
};

}  // namespace

const GemmKernel gemm_neon = {"neon",    has_neon,           Products::kRows,      sizeof(int8_t), nullptr,   true, 0,
                              unpack_neon, multiply<Products>, accumulate<Products>, requantize,     dequantize};

}  // namespace nq
#endif
