// Rows and codes are widened to int16 before they are multiplied, two of the depth at a time. A tile is up to 6 rows by
// 16 channels: with the two vectors of codes, an activation and a product its 12 accumulators take all 16 registers.
#if defined(__AVX2__)
#include "kernels/gemm/gemm_avx2.h"

#include "kernels/cpu.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_avx2;

namespace {

constexpr int kBlockBytes = kLineBytes * sizeof(int16_t);  // of all codes of a block, for 4 of the depth
constexpr int kPairBytes = kBlockBytes / 2;                // for 2 of it

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

// 8 channels' codes for 4 of the depth: those for the first two of it, then those for the others, which lie kPairBytes
// behind. By shifts of words whose low bytes are the first two: widening instructions are shuffles, for which there is
// one port.
inline void widen(__m256i codes, int8_t* out) {
  const __m256i words =
      _mm256_shuffle_epi8(codes, _mm256_setr_epi8(0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13,  //
                                                  15, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15));
  store(_mm256_srai_epi16(_mm256_slli_epi16(words, 8), 8), out);
  store(_mm256_srai_epi16(words, 8), out + kPairBytes);
}

void unpack(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* out) {
  int8_t* codes = out + num_superblocks * kSuperblockWeights;  // the second half, which is overwritten behind them
  unpack_avx2(levels, middle, num_superblocks, codes);
  for (; out < codes; codes += kLineBytes, out += kBlockBytes) {
    const __m256i second = load(codes + kVectorBytes);  // before it is overwritten
    widen(load(codes), out);
    widen(second, out + kVectorBytes);
  }
}

inline __m256i broadcast(const int8_t* activations) {
  int32_t two;
  std::memcpy(&two, activations, sizeof(two));
  return _mm256_set1_epi32(two);
}

// Not the intrinsic: GCC would put all products before the sums, lack registers for either, and move them about.
[[gnu::always_inline]] inline __m256i add(__m256i sum, __m256i products) {
  asm volatile("vpaddd %1, %0, %0" : "+x"(sum) : "x"(products));
  return sum;
}

// Two of the depth.
template <int kNumRows, int kNumVectors>
[[gnu::always_inline]] inline void add_pair(const int8_t* codes, const int8_t* const* rows, size_t at,
                                            Sums<kNumRows, kNumVectors>* sums) {
  __m256i weights[kNumVectors];
#pragma GCC unroll 2
  for (int v = 0; v < kNumVectors; ++v) weights[v] = load(codes + v * kVectorBytes);
#pragma GCC unroll 6
  for (int r = 0; r < kNumRows; ++r) {
    const __m256i activation = broadcast(rows[r] + at);
#pragma GCC unroll 2
    for (int v = 0; v < kNumVectors; ++v) {
      sums->of[r][v] = add(sums->of[r][v], _mm256_madd_epi16(activation, weights[v]));
    }
  }
}

struct Multiply {
  template <int kNumRows, int kNumVectors>
  [[gnu::always_inline]] static inline Sums<kNumRows, kNumVectors> block(const GemmTile& tile, uint32_t block) {
    Sums<kNumRows, kNumVectors> sums = start_sums<kNumRows, kNumVectors>(tile, block);
    const int8_t* rows[kNumRows];
#pragma GCC unroll 6
    for (int r = 0; r < kNumRows; ++r) rows[r] = tile.rows.pieces[r];
    const int8_t* codes = tile.codes + block * tile.block_stride;
    const size_t end = size_t{tile.rows.piece_depth} * sizeof(int16_t);
    for (size_t at = 0; at < end; at += 2 * sizeof(int32_t), codes += kBlockBytes) {
      add_pair(codes, rows, at, &sums);
      add_pair(codes + kPairBytes, rows, at + sizeof(int32_t), &sums);
    }
    return sums;
  }
};

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
