// For CPUs with the multiply of AVX-512 VNNI in vectors of 256 bits. A tile is up to 6 rows by 16 channels: 12
// accumulators, 2 vectors of weights, an activation and its offset in 16 registers. The multiply takes an unsigned
// operand, which is the activation plus 128.
#if defined(__AVXVNNI__)
#include "kernels/cpu.h"
#include "kernels/gemm/gemm_avx2.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avxvnni;

namespace {

// Four activations in every lane, each plus 128.
inline __m256i broadcast(const int8_t* activations) {
  int32_t four;
  std::memcpy(&four, activations, sizeof(four));
  return _mm256_xor_si256(_mm256_set1_epi32(four), _mm256_set1_epi8(static_cast<char>(0x80)));
}

// Not the intrinsic, for GCC's copies of accumulators; and assemblers would take AVX-512's encoding.
[[gnu::always_inline]] inline __m256i add_products(__m256i sums, __m256i activation, __m256i weights) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sums) : "x"(activation), "x"(weights));
  return sums;
}

struct Multiply {
  template <int kNumRows, int kNumVectors>
  [[gnu::always_inline]] static inline Sums<kNumRows, kNumVectors> block(const GemmTile& tile, uint32_t block) {
    Sums<kNumRows, kNumVectors> sums = start_sums<kNumRows, kNumVectors>(tile, block);
    const int8_t* codes = tile.codes + block * tile.block_stride;
    for (uint32_t k = 0; k < tile.rows.num_pieces; ++k) {
      const int8_t* rows[kNumRows];
#pragma GCC unroll 6
      for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = tile.rows.pieces[r * tile.rows.num_pieces + k];
      for (uint32_t at = 0; at < tile.rows.piece_depth; at += kDepthPerBlock, codes += kLineBytes) {
        __m256i weights[kNumVectors];
#pragma GCC unroll 2
        for (int v = 0; v < kNumVectors; ++v) weights[v] = load(codes + v * kVectorBytes);
#pragma GCC unroll 6
        for (int r = 0; r < kNumRows; ++r) {
          const __m256i activation = broadcast(rows[r] + at);
#pragma GCC unroll 2
          for (int v = 0; v < kNumVectors; ++v) sums.of[r][v] = add_products(sums.of[r][v], activation, weights[v]);
        }
      }
    }
    return sums;
  }
};

}  // namespace

constexpr GemmKernel gemm_avxvnni = [] {
  GemmKernel kernel;
  kernel.isa = "avxvnni";
  kernel.supported = has_avxvnni;
  kernel.rows = kRows;
  kernel.sum_offset = 128;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_avx2;
  kernel.multiply = multiply_tile<Multiply>;
  kernel.sums.accumulate = accumulate_tile<Multiply>;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  kernel.around.begin = begin_task;
  kernel.around.end = end_task;
  return kernel;
}();

}  // namespace nq
#endif
