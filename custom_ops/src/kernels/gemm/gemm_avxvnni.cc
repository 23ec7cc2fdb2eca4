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

constexpr int kRows = 6;
constexpr int kVectors = kMatrixChannels / kChannels;  // of accumulators in a row
constexpr int kVectorBytes = sizeof(__m256i);

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

template <int kNumRows>
struct Sums {
  __m256i of[kNumRows][kVectors];
};

template <int kNumRows>
[[gnu::always_inline]] inline Sums<kNumRows> multiply_block(const GemmTile& tile, uint32_t block) {
  Sums<kNumRows> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums.of[r][v] = load(tile.bias + block * kMatrixChannels + v * kChannels);
  }
  const int8_t* codes = tile.codes + block * tile.block_stride;
  for (uint32_t k = 0; k < tile.rows.num_pieces; ++k) {
    const int8_t* rows[kNumRows];
#pragma GCC unroll 6
    for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = tile.rows.pieces[r * tile.rows.num_pieces + k];
    for (uint32_t at = 0; at < tile.rows.piece_depth; at += kDepthPerBlock, codes += kLineBytes) {
      const __m256i weights[kVectors] = {load(codes), load(codes + kVectorBytes)};
#pragma GCC unroll 6
      for (int r = 0; r < kNumRows; ++r) {
        const __m256i activation = broadcast(rows[r] + at);
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) sums.of[r][v] = add_products(sums.of[r][v], activation, weights[v]);
      }
    }
  }
  return sums;
}

template <int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  for (int block = 0; block < tile.num_blocks; ++block, out += kMatrixChannels) {
    const Sums<kNumRows> sums = multiply_block<kNumRows>(tile, static_cast<uint32_t>(block));
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) store(sums.of[r][v], out + r * kTileChannels + v * kChannels);
    }
  }
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  constexpr decltype(&accumulate) kAccumulate[kRows] = {accumulate_rows<1>, accumulate_rows<2>, accumulate_rows<3>,
                                                        accumulate_rows<4>, accumulate_rows<5>, accumulate_rows<6>};
  kAccumulate[tile.rows.num_rows - 1](tile, sums);
}

template <int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kMatrixChannels) {
    const Sums<kNumRows> sums = multiply_block<kNumRows>(tile, c / kMatrixChannels);
    const __m256 first = _mm256_loadu_ps(requantization.multiplier + c);
    const __m256 second = _mm256_loadu_ps(requantization.multiplier + c + kChannels);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      const __m128i codes = requantize_two(requantizer, sums.of[r][0], first, sums.of[r][1], second);
      store_row(codes, num_channels - c, out + r * out_stride + c);
    }
  }
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  constexpr decltype(&multiply) kMultiply[kRows] = {multiply_rows<1>, multiply_rows<2>, multiply_rows<3>,
                                                    multiply_rows<4>, multiply_rows<5>, multiply_rows<6>};
  if (!requantization.shrinks) {
    alignas(kLineBytes) int32_t sums[kRows * kTileChannels];
    accumulate(tile, sums);
    return requantize_rows(sums, tile.rows.num_rows, requantization, out, out_stride, num_channels);
  }
  kMultiply[tile.rows.num_rows - 1](tile, requantization, out, out_stride, num_channels);
}

}  // namespace

constexpr GemmKernel gemm_avxvnni = [] {
  GemmKernel kernel;
  kernel.isa = "avxvnni";
  kernel.supported = has_avxvnni;
  kernel.rows = kRows;
  kernel.sum_offset = 128;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_avx2;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  return kernel;
}();

}  // namespace nq
#endif
