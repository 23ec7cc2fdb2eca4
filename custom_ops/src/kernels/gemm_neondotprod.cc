// A tile is up to 6 rows by 16 channels: 24 accumulators and 16 activations of each row leave two of 32 registers for
// weights. A lane of a row's activations multiplies a vector of weights, 4 channels by 4 of the depth, as it lies.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/cpu.h"
#include "kernels/gemm_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neondotprod;

namespace {

constexpr uint32_t kStep = 16;  // activations in a vector

template <int kLane, int kNumRows>
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const int8x16_t (&activations)[kNumRows],
                                                  Sums<kNumRows, 2>* sums) {
#pragma GCC unroll 2
  for (int p = 0; p < 2; ++p) {
    const int8x16_t first = vld1q_s8(codes + p * 32), second = vld1q_s8(codes + p * 32 + 16);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      EightSums& eight = sums->of[r][p];
      eight.first = vdotq_laneq_s32(eight.first, first, activations[r], kLane);
      eight.second = vdotq_laneq_s32(eight.second, second, activations[r], kLane);
    }
  }
}

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_piece(const int8_t* codes, const int8_t* const* piece, uint32_t num_pieces,
                                                  uint32_t piece_depth, Sums<kNumRows, 2>* sums) {
  const int8_t* rows[kNumRows];
  int8x16_t activations[kNumRows];
#pragma GCC unroll 6
  for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = piece[r * num_pieces];
  uint32_t at = 0;
  for (; at + kStep <= piece_depth; at += kStep, codes += kStep * kMatrixChannels) {
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) activations[r] = vld1q_s8(rows[r] + at);
    multiply_block<0>(codes, activations, sums);
    multiply_block<1>(codes + kLineBytes, activations, sums);
    multiply_block<2>(codes + 2 * kLineBytes, activations, sums);
    multiply_block<3>(codes + 3 * kLineBytes, activations, sums);
  }
  for (; at < piece_depth; at += kDepthPerBlock, codes += kLineBytes) {
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      int32_t four;
      std::memcpy(&four, rows[r] + at, sizeof(four));
      activations[r] = vreinterpretq_s8_s32(vdupq_n_s32(four));
    }
    multiply_block<0>(codes, activations, sums);
  }
}

struct DotProducts {
  static constexpr int kRows = 6, kPairs = 2;

  template <int kNumRows>
  [[gnu::always_inline]] static inline Sums<kNumRows, kPairs> multiply(const GemmTile& tile, uint32_t channel) {
    const GemmRows& rows = tile.rows;
    const int8_t* codes = tile.codes + channel / kMatrixChannels * tile.block_stride;
    Sums<kNumRows, kPairs> sums;
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      const EightSums bias = load_sums(tile.bias + channel + 8 * p);
#pragma GCC unroll 6
      for (int r = 0; r < kNumRows; ++r) sums.of[r][p] = bias;
    }
    for (uint32_t k = 0; k < rows.num_pieces; ++k, codes += size_t{rows.piece_depth} * kMatrixChannels) {
      multiply_piece(codes, rows.pieces + k, rows.num_pieces, rows.piece_depth, &sums);
    }
    return sums;
  }
};

}  // namespace

const GemmKernel gemm_neondotprod = {
    "neondotprod", has_neondotprod,         DotProducts::kRows,      sizeof(int8_t), nullptr,   true, 0,
    unpack_neon,   multiply<DotProducts>, accumulate<DotProducts>, requantize,     dequantize};

}  // namespace nq
#endif
