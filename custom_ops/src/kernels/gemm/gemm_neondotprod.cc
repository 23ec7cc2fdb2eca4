// A tile is up to 8 rows by 8 channels: 16 accumulators, and 16 activations of each row. A lane of these multiplies a
// vector of weights, 4 channels by 4 of the depth, as it lies.
//
// The 8-bit matrix multiply of later CPUs has no kernel: it wants 8 of a channel's depth side by side, which takes a
// shuffle for every vector of weights in every tile.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/cpu.h"
#include "kernels/gemm/gemm_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neondotprod;

namespace {

template <int kLane, int kNumRows>
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const int8x16_t (&activations)[kNumRows],
                                                  Sums<kNumRows>* sums) {
  const int8x16_t first = vld1q_s8(codes), second = vld1q_s8(codes + 16);
#pragma GCC unroll 8
  for (int r = 0; r < kNumRows; ++r) {
    EightSums& of_row = sums->of[r];
    of_row.first = vdotq_laneq_s32(of_row.first, first, activations[r], kLane);
    of_row.second = vdotq_laneq_s32(of_row.second, second, activations[r], kLane);
  }
}

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_piece(const int8_t* codes, const int8_t* const* piece, uint32_t num_pieces,
                                                  uint32_t piece_depth, Sums<kNumRows>* sums) {
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

struct DotProducts {
  static constexpr int kRows = 8;

  template <int kNumRows>
  [[gnu::always_inline]] static inline Sums<kNumRows> multiply(const GemmTile& tile, uint32_t channel) {
    const GemmRows& rows = tile.rows;
    const int8_t* codes = codes_of(tile, channel);
    const EightSums bias = load_sums(tile.bias + channel);
    Sums<kNumRows> sums;
#pragma GCC unroll 8
    for (int r = 0; r < kNumRows; ++r) sums.of[r] = bias;
    for (uint32_t k = 0; k < rows.num_pieces; ++k, codes += size_t{rows.piece_depth} * kMatrixChannels) {
      multiply_piece(codes, rows.pieces + k, rows.num_pieces, rows.piece_depth, &sums);
    }
    return sums;
  }
};

}  // namespace

constexpr GemmKernel gemm_neondotprod = [] {
  GemmKernel kernel;
  kernel.isa = "neondotprod";
  kernel.supported = has_neondotprod;
  kernel.rows = DotProducts::kRows;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_neon;
  kernel.multiply = multiply<DotProducts>;
  kernel.sums.accumulate = accumulate<DotProducts>;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
#endif
