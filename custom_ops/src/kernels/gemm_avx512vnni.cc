// A tile is up to 6 rows by 64 channels: 24 accumulators, 4 vectors of weights and an activation in 32 registers. The
// multiply takes an unsigned operand, which is the activation plus 128.
#if defined(__AVX512VNNI__)
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm_tiles.h"
#include "kernels/requantize_avx512.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avx512vnni;

namespace {

constexpr int kRows = 6;

size_t row_bytes(uint32_t depth) { return (size_t{depth} + 63) / 64 * 64; }

void prepare(const int8_t* in, uint32_t count, uint32_t at, uint8_t* row) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  uint8_t* out = row + at;
  uint32_t done = 0;
  for (; count - done >= 64; done += 64) {
    _mm512_storeu_si512(out + done, _mm512_xor_si512(_mm512_loadu_si512(in + done), sign));
  }
  const __mmask64 rest = (uint64_t{1} << (count - done)) - 1;
  _mm512_mask_storeu_epi8(out + done, rest, _mm512_xor_si512(_mm512_maskz_loadu_epi8(rest, in + done), sign));
}

void finish_row(uint32_t depth, uint8_t* row) {
  const __mmask64 rest = depth % 64 == 0 ? 0 : ~uint64_t{0} << depth % 64;
  _mm512_mask_storeu_epi8(row + depth / 64 * 64, rest, _mm512_setzero_si512());
}

inline __m512i broadcast(const uint8_t* activations) {
  int32_t four;
  std::memcpy(&four, activations, sizeof(four));
  return _mm512_set1_epi32(four);
}

template <int kNumRows, int kBlocks>
struct Sums {
  __m512i of[kNumRows][kBlocks];
};

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline void multiply_superblock(const int8_t* codes, size_t block_stride, const uint8_t* rows,
                                                       size_t row_stride, Sums<kNumRows, kBlocks>* sums) {
#pragma GCC unroll 8
  for (int i = 0; i < kBlocksPerSuperblock; ++i) {
    __m512i weights[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) weights[b] = _mm512_loadu_si512(codes + b * block_stride + i * kLineBytes);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      const __m512i activation = broadcast(rows + r * row_stride + i * kDepthPerBlock);
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) sums->of[r][b] = _mm512_dpbusd_epi32(sums->of[r][b], activation, weights[b]);
    }
  }
}

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline Sums<kNumRows, kBlocks> multiply_tile(const GemmTile& tile) {
  const size_t block_stride = size_t{tile.num_superblocks} * kSuperblockWeights;
  Sums<kNumRows, kBlocks> sums;
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const __m512i bias = _mm512_loadu_si512(tile.bias + b * kMatrixChannels);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) sums.of[r][b] = bias;
  }
  const int8_t* codes = tile.codes;
  const uint8_t* rows = tile.rows;
  for (uint32_t s = 0; s < tile.num_superblocks; ++s) {
    multiply_superblock(codes, block_stride, rows, tile.row_stride, &sums);
    codes += kSuperblockWeights;
    rows += kMatrixDepth;
  }
  return sums;
}

// Lanes of a block of 16 channels that are stored.
inline __mmask16 stored(uint32_t num_channels, int block) {
  const uint32_t left = num_channels - static_cast<uint32_t>(block) * kMatrixChannels;
  return static_cast<__mmask16>(left >= kMatrixChannels ? 0xFFFFu : (1u << left) - 1);
}

template <int kNumRows, int kBlocks>
void multiply_and_store(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                        uint32_t num_channels) {
  const Sums<kNumRows, kBlocks> sums = multiply_tile<kNumRows, kBlocks>(tile);
  const Requantizer requantizer = make_requantizer(requantization);
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const __m512 multiplier = _mm512_loadu_ps(requantization.multiplier + b * kMatrixChannels);
    const __mmask16 mask = stored(num_channels, b);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      _mm512_mask_cvtepi32_storeu_epi8(out + r * out_stride + b * kMatrixChannels, mask,
                                       requantize(requantizer, sums.of[r][b], multiplier));
    }
  }
}

using StoreFn = void (*)(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                         uint32_t num_channels);
#define NQ_BLOCKS(rows) \
  {multiply_and_store<rows, 1>, multiply_and_store<rows, 2>, multiply_and_store<rows, 3>, multiply_and_store<rows, 4>}
constexpr StoreFn kStore[kRows][kTileBlocks] = {NQ_BLOCKS(1), NQ_BLOCKS(2), NQ_BLOCKS(3),
                                                NQ_BLOCKS(4), NQ_BLOCKS(5), NQ_BLOCKS(6)};
#undef NQ_BLOCKS

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  kStore[tile.num_rows - 1][tile.num_blocks - 1](tile, requantization, out, out_stride, num_channels);
}

template <int kBlocks>
void accumulate_blocks(const GemmTile& tile, int32_t* out) {
  const Sums<1, kBlocks> sums = multiply_tile<1, kBlocks>(tile);
  for (int b = 0; b < kBlocks; ++b) _mm512_storeu_si512(out + b * kMatrixChannels, sums.of[0][b]);
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  using AccumulateFn = void (*)(const GemmTile& tile, int32_t* out);
  constexpr AccumulateFn kAccumulate[kTileBlocks] = {accumulate_blocks<1>, accumulate_blocks<2>, accumulate_blocks<3>,
                                                     accumulate_blocks<4>};
  kAccumulate[tile.num_blocks - 1](tile, sums);
}

void requantize_row(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kMatrixChannels) {
    const __m512i codes =
        requantize(requantizer, _mm512_loadu_si512(sums + c), _mm512_loadu_ps(requantization.multiplier + c));
    _mm512_mask_cvtepi32_storeu_epi8(out + c, stored(num_channels, static_cast<int>(c / kMatrixChannels)), codes);
  }
}

constexpr TileKernel kTiles = {unpack_avx512vnni, kRows, kMatrixDepth, multiply, accumulate, requantize_row};

void run(const PackedWeight& weight, const uint8_t* rows, size_t row_stride, int num_rows, uint32_t first_block,
         uint32_t num_blocks, const int32_t* bias, const Requantization& requantization, int8_t* out, size_t out_stride,
         uint8_t* scratch) {
  run_tiles(kTiles, weight, rows, row_stride, num_rows, first_block, num_blocks, bias, requantization, out, out_stride,
            scratch);
}

}  // namespace

const GemmKernel gemm_avx512vnni = {"avx512vnni", has_avx512vnni, kRows, row_bytes, prepare, finish_row, 128, run};

}  // namespace nq
#endif
