// Rows and codes are widened to int16 before they are multiplied. A tile is up to 6 rows by 8 channels: each row has
// two accumulators of 4 channels, with the sums of even and odd pairs of the depth side by side. With the two vectors
// of codes, an activation and a product that takes all 16 registers.
#if defined(__AVX2__)
#include "kernels/gemm/gemm_avx2.h"

#include "kernels/cpu.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avx2;

namespace {

constexpr int kRows = 6;
constexpr int kVectors = 2;  // of accumulators in a row
constexpr int kVectorBytes = sizeof(__m256i);
constexpr int kTileBytes = kVectors * kVectorBytes;        // of a tile's codes in a block
constexpr int kBlockBytes = kLineBytes * sizeof(int16_t);  // of all codes of a block

void prepare(const int8_t* in, uint32_t count, int8_t* out) {
  uint32_t done = 0;
  for (; count - done >= 16; done += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + done));
    store(_mm256_cvtepi8_epi16(bytes), out + size_t{done} * 2);
  }
  for (; done < count; ++done) {
    const int16_t word = in[done];
    std::memcpy(out + size_t{done} * 2, &word, sizeof(word));
  }
}

// 8 channels' codes of a block, channels 0, 1, 4 and 5 before the others: what hadd makes of their sums is in order.
inline void widen(const int8_t* codes, int8_t* out) {
  const __m256i bytes = _mm256_permute4x64_epi64(load(codes), _MM_SHUFFLE(3, 1, 2, 0));
  store(_mm256_cvtepi8_epi16(_mm256_castsi256_si128(bytes)), out);
  store(_mm256_cvtepi8_epi16(_mm256_extracti128_si256(bytes, 1)), out + kVectorBytes);
}

void unpack(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* out) {
  int8_t* codes = out + num_superblocks * kSuperblockWeights;  // the second half, which is overwritten behind them
  unpack_avx2(levels, middle, num_superblocks, codes);
  for (; out < codes; codes += kVectorBytes, out += kTileBytes) widen(codes, out);
}

inline __m256i broadcast(const int8_t* activations) {
  int64_t four;
  std::memcpy(&four, activations, sizeof(four));
  return _mm256_set1_epi64x(four);
}

// Not the intrinsic: GCC would put all products before the sums, lack registers for either, and move them about.
[[gnu::always_inline]] inline __m256i add(__m256i sum, __m256i products) {
  asm volatile("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
  return sum;
}

template <int kNumRows>
struct Sums {
  __m256i of[kNumRows][kVectors];
};

template <int kNumRows>
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const int8_t* const* rows, size_t at,
                                                  Sums<kNumRows>* sums) {
  const __m256i weights[kVectors] = {load(codes), load(codes + kVectorBytes)};
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    const __m256i activation = broadcast(rows[r] + at);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      sums->of[r][v] = add(sums->of[r][v], _mm256_madd_epi16(activation, weights[v]));
    }
  }
}

// `half` counts tiles of 8 channels.
template <int kNumRows>
[[gnu::always_inline]] inline Sums<kNumRows> multiply_half(const GemmTile& tile, int half) {
  const int8_t* codes = tile.codes + half / 2 * tile.block_stride + half % 2 * kTileBytes;
  const int8_t* rows[kNumRows];
  Sums<kNumRows> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    rows[r] = tile.rows.pieces[r];
    sums.of[r][0] = sums.of[r][1] = _mm256_setzero_si256();
  }
  const size_t end = size_t{tile.rows.piece_depth} * sizeof(int16_t);
  for (size_t at = 0; at < end; at += kDepthPerBlock * sizeof(int16_t), codes += kBlockBytes) {
    multiply_block(codes, rows, at, &sums);
  }
  return sums;
}

// The sums of 8 channels from their two accumulators.
inline __m256i join(const __m256i (&sums)[kVectors], const int32_t* bias) {
  return _mm256_add_epi32(_mm256_hadd_epi32(sums[0], sums[1]), load(bias));
}

template <int kNumRows>
void multiply_rows(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                   uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const Sums<kNumRows> sums = multiply_half<kNumRows>(tile, static_cast<int>(c) / kChannels);
    const __m256 multiplier = _mm256_loadu_ps(requantization.multiplier + c);
    const uint32_t count = num_channels - c;
#pragma GCC unroll 3
    for (int r = 0; r < kNumRows; r += 2) {
      const int second = r + 1 < kNumRows ? r + 1 : r;
      const __m128i codes = requantize_two(requantizer, join(sums.of[r], tile.bias + c), multiplier,
                                           join(sums.of[second], tile.bias + c), multiplier);
      store_codes(codes, count, out + r * out_stride + c);
      if (second > r) store_codes(_mm_unpackhi_epi64(codes, codes), count, out + second * out_stride + c);
    }
  }
}

template <int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  for (int half = 0; half < 2 * tile.num_blocks; ++half) {
    const Sums<kNumRows> sums = multiply_half<kNumRows>(tile, half);
    const int c = half * kChannels;
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      store(join(sums.of[r], tile.bias + c), out + r * kTileChannels + c);
    }
  }
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  constexpr decltype(&accumulate) kAccumulate[kRows] = {accumulate_rows<1>, accumulate_rows<2>, accumulate_rows<3>,
                                                        accumulate_rows<4>, accumulate_rows<5>, accumulate_rows<6>};
  kAccumulate[tile.rows.num_rows - 1](tile, sums);
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

constexpr GemmKernel gemm_avx2 = [] {
  GemmKernel kernel;
  kernel.isa = "avx2";
  kernel.supported = has_avx2;
  kernel.rows = kRows;
  kernel.activations.bytes = sizeof(int16_t);
  kernel.activations.prepare = prepare;
  kernel.codes.bytes = sizeof(int16_t);
  kernel.codes.unpack = unpack;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  return kernel;
}();

}  // namespace nq
#endif
