// Rows are widened to int16 once, weights in the inner loop. A tile is up to 6 rows by 8 channels: each row has two
// accumulators of 4 channels, with the sums of even and odd pairs of the depth side by side. With the two vectors of
// weights, an activation and a product that takes all 16 registers.
#if defined(__AVX2__)
#include "kernels/cpu.h"
#include "kernels/gemm_tiles.h"
#include "kernels/requantize_avx2.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avx2;

namespace {

constexpr int kRows = 6;
constexpr int kVectors = 2;                         // of accumulators in a row
constexpr int kChannels = 8;                        // of a tile
constexpr int kCodes = kChannels * kDepthPerBlock;  // of a tile in a block

size_t row_bytes(uint32_t depth) { return (size_t{depth} + 31) / 32 * 64; }

void prepare(const int8_t* in, uint32_t count, uint32_t at, uint8_t* row) {
  uint8_t* out = row + size_t{at} * 2;
  uint32_t done = 0;
  for (; count - done >= 16; done += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + done));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + size_t{done} * 2), _mm256_cvtepi8_epi16(bytes));
  }
  for (; done < count; ++done) {
    const int16_t word = in[done];
    std::memcpy(out + size_t{done} * 2, &word, sizeof(word));
  }
}

void finish_row(uint32_t depth, uint8_t* row) {
  std::memset(row + size_t{depth} * 2, 0, row_bytes(depth) - size_t{depth} * 2);
}

inline __m256i broadcast(const uint8_t* activations) {
  int64_t four;
  std::memcpy(&four, activations, sizeof(four));
  return _mm256_set1_epi64x(four);
}

template <int kNumRows>
struct Sums {
  __m256i of[kNumRows][kVectors];
};

inline __m256i load_sums(const int32_t* sums) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)); }

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const uint8_t* rows, size_t row_stride,
                                                  Sums<kNumRows>* sums) {
  __m256i weights[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    weights[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + v * 16)));
  }
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    const __m256i activation = broadcast(rows + r * row_stride);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      __m256i sum = _mm256_add_epi32(sums->of[r][v], _mm256_madd_epi16(activation, weights[v]));
      // GCC would put all products before the sums and then lack registers for either.
      asm volatile("" : "+x"(sum));
      sums->of[r][v] = sum;
    }
  }
}

// `half` counts tiles of 8 channels.
template <int kNumRows>
[[gnu::always_inline]] inline Sums<kNumRows> multiply_half(const GemmTile& tile, int half) {
  const int8_t* codes = tile.codes + size_t{tile.num_superblocks} * kSuperblockWeights * (half / 2) + half % 2 * kCodes;
  const uint8_t* rows = tile.rows;
  Sums<kNumRows> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) sums.of[r][0] = sums.of[r][1] = _mm256_setzero_si256();
  for (uint32_t i = tile.num_superblocks * kBlocksPerSuperblock; i > 0; --i) {
    multiply_block(codes, rows, tile.row_stride, &sums);
    codes += kLineBytes;
    rows += kDepthPerBlock * sizeof(int16_t);
  }
  return sums;
}

// The sums of 8 channels from their two accumulators.
inline __m256i join(const __m256i (&sums)[kVectors], const int32_t* bias) {
  const __m256i joined = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums[0], sums[1]), 0xD8);
  return _mm256_add_epi32(joined, load_sums(bias));
}

template <int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const Sums<kNumRows> sums = multiply_half<kNumRows>(tile, static_cast<int>(c) / kChannels);
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      store_channels(requantizer, join(sums.of[r], tile.bias + c), requantization.multiplier + c, num_channels - c,
                     out + r * out_stride + c);
    }
  }
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  constexpr decltype(&multiply) kMultiply[kRows] = {multiply_rows<1>, multiply_rows<2>, multiply_rows<3>,
                                                    multiply_rows<4>, multiply_rows<5>, multiply_rows<6>};
  kMultiply[tile.num_rows - 1](tile, requantization, out, out_stride, num_channels);
}

void accumulate(const GemmTile& tile, int32_t* out) {
  for (int half = 0; half < 2 * tile.num_blocks; ++half) {
    const Sums<1> sums = multiply_half<1>(tile, half);
    const int c = half * kChannels;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + c), join(sums.of[0], tile.bias + c));
  }
}

void requantize_row(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    store_channels(requantizer, load_sums(sums + c), requantization.multiplier + c, num_channels - c, out + c);
  }
}

constexpr TileKernel kTiles = {unpack_avx2, kRows,      kMatrixDepth * sizeof(int16_t),
                               multiply,    accumulate, requantize_row};

void run(const PackedWeight& weight, const uint8_t* rows, size_t row_stride, int num_rows, uint32_t first_block,
         uint32_t num_blocks, const int32_t* bias, const Requantization& requantization, int8_t* out, size_t out_stride,
         uint8_t* scratch) {
  run_tiles(kTiles, weight, rows, row_stride, num_rows, first_block, num_blocks, bias, requantization, out, out_stride,
            scratch);
}

}  // namespace

const GemmKernel gemm_avx2 = {"avx2", has_avx2, kRows, row_bytes, prepare, finish_row, 0, run};

}  // namespace nq
#endif
