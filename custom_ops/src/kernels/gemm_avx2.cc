// Rows are widened to int16 once, weights in the inner loop. A tile is up to 6 rows by 8 channels: each row has two
// accumulators of 4 channels, with the sums of even and odd pairs of the depth side by side. With the two vectors of
// weights, an activation and a product that takes all 16 registers.
#if defined(__AVX2__)
#include "kernels/cpu.h"
#include "kernels/gemm.h"
#include "kernels/requantize_avx2.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avx2;

namespace {

constexpr int kRows = 6;
constexpr int kVectors = 2;                         // of accumulators in a row
constexpr int kChannels = 8;                        // of a tile
constexpr int kCodes = kChannels * kDepthPerBlock;  // of a tile in a block

void prepare(const int8_t* in, uint32_t count, int8_t* out) {
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

inline __m256i broadcast(const int8_t* activations) {
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
[[gnu::always_inline]] inline void multiply_block(const int8_t* codes, const int8_t* const* rows, size_t at,
                                                  Sums<kNumRows>* sums) {
  __m256i weights[kVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kVectors; ++v) {
    weights[v] = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + v * 16)));
  }
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    const __m256i activation = broadcast(rows[r] + at);
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
  const int8_t* codes = tile.codes + half / 2 * tile.block_stride + half % 2 * kCodes;
  const int8_t* rows[kNumRows];
  Sums<kNumRows> sums;
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    rows[r] = tile.rows.pieces[r];
    sums.of[r][0] = sums.of[r][1] = _mm256_setzero_si256();
  }
  const size_t end = size_t{tile.rows.piece_depth} * sizeof(int16_t);
  for (size_t at = 0; at < end; at += kDepthPerBlock * sizeof(int16_t), codes += kLineBytes) {
    multiply_block(codes, rows, at, &sums);
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
  kMultiply[tile.rows.num_rows - 1](tile, requantization, out, out_stride, num_channels);
}

template <int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  for (int half = 0; half < 2 * tile.num_blocks; ++half) {
    const Sums<kNumRows> sums = multiply_half<kNumRows>(tile, half);
    const int c = half * kChannels;
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) {
      const __m256i joined = join(sums.of[r], tile.bias + c);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + r * kTileChannels + c), joined);
    }
  }
}

void accumulate(const GemmTile& tile, int32_t* sums) {
  constexpr decltype(&accumulate) kAccumulate[kRows] = {accumulate_rows<1>, accumulate_rows<2>, accumulate_rows<3>,
                                                        accumulate_rows<4>, accumulate_rows<5>, accumulate_rows<6>};
  kAccumulate[tile.rows.num_rows - 1](tile, sums);
}

void requantize(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    store_channels(requantizer, load_sums(sums + c), requantization.multiplier + c, num_channels - c, out + c);
  }
}

void dequantize(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out, size_t out_stride,
                uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    Dequantizer dequantizer = make_dequantizer(dequantization, c);
    for (int r = 0; r < num_rows; ++r) {
      if (r > 0 && dequantization.row_step > 0) {
        dequantizer = make_dequantizer(dequantization.from_row(static_cast<size_t>(r)), c);
      }
      store_floats(dequantizer, load_sums(sums + r * kTileChannels + c), num_channels - c, out + r * out_stride + c);
    }
  }
}

}  // namespace

const GemmKernel gemm_avx2 = {"avx2", has_avx2,    kRows,    sizeof(int16_t), prepare,    false,
                              0,      unpack_avx2, multiply, accumulate,      requantize, dequantize};

}  // namespace nq
#endif
