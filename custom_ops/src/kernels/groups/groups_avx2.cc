// Codes are multiplied as nibbles: unsigned bytes up to 15 by signed ones give pairs of products that 16 bits hold for
// a whole superblock, so that a block of 8 channels by 4 of the depth is one product and one addition. The upper
// nibbles count sixteenfold, with their sign turned; what that adds, and the middle of a cell, are known from the
// activations' sums. The zero points multiply sums of nibbles, which 8 bits hold for a whole superblock.
#if defined(__AVX2__)
#include <immintrin.h>

#include "kernels/cpu.h"
#include "kernels/groups/group_tiles.h"

namespace nq {

void unpack_avx2(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GroupKernel groups_avx2;

namespace {

constexpr int kRows = 4, kPackedRows = 4;
constexpr int kHalves = 2;  // of 16 channels
constexpr int kVectorBytes = sizeof(__m256i);

inline __m256i load_half(const void* bytes) { return _mm256_loadu_si256(static_cast<const __m256i*>(bytes)); }
inline __m256i low_nibbles(__m256i bytes) { return _mm256_and_si256(bytes, _mm256_set1_epi8(15)); }
inline __m256i high_nibbles(__m256i bytes) { return low_nibbles(_mm256_srli_epi16(bytes, 4)); }

// The nibbles of one half of a superblock's blocks. Each Source has kLevels, whether it has lower ones too.
struct Unpacked {
  static constexpr int kLevels = 2;
  explicit Unpacked(const GroupTile& tile) : codes(tile.codes) {}

  [[gnu::always_inline]] inline void load(int pair, int half, __m256i (&nibbles)[2][kLevels]) const {
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
      const __m256i code = load_half(codes + (pair * 2 + i) * kLineBytes + half * kVectorBytes);
      nibbles[i][0] = _mm256_xor_si256(high_nibbles(code), _mm256_set1_epi8(8));
      nibbles[i][1] = low_nibbles(code);
    }
  }
  void advance() { codes += kSuperblockWeights; }
  static int32_t middle(const GroupTile&, const int32_t*) { return 0; }

  const int8_t* codes;
};

template <int kNumLevels>
struct Packed {
  static constexpr int kLevels = kNumLevels;
  explicit Packed(const GroupTile& tile) {
    for (int k = 0; k < kLevels; ++k) bytes[k] = tile.levels.data[k];
  }

  [[gnu::always_inline]] inline void load(int pair, int half, __m256i (&nibbles)[2][kLevels]) const {
#pragma GCC unroll 2
    for (int k = 0; k < kLevels; ++k) {
      __m256i line = load_half(bytes[k] + pair * kLineBytes + half * kVectorBytes);
      if (k == 0) line = _mm256_xor_si256(line, _mm256_set1_epi8(static_cast<char>(0x88)));
      nibbles[0][k] = low_nibbles(line);
      nibbles[1][k] = high_nibbles(line);
    }
  }
  void advance() {
    for (int k = 0; k < kLevels; ++k) bytes[k] += 4 * kLineBytes;
  }
  // With one level in use the middle stands in for the lower nibbles.
  static int32_t middle(const GroupTile& tile, const int32_t* sums) {
    return kLevels == 1 ? tile.even * sums[kEven] + tile.odd * sums[kOdd] : 0;
  }

  const uint8_t* bytes[kLevels];
};

inline __m256i four(const int8_t* activations) {
  int32_t all;
  std::memcpy(&all, activations, sizeof(all));
  return _mm256_set1_epi32(all);
}

inline __m256i to_32(__m256i sums) { return _mm256_madd_epi16(sums, _mm256_set1_epi16(1)); }

// Of 8 channels: f16 to floats with the instructions that AVX2 itself has, exactly.
inline __m256 load_scales(const uint8_t* f16) {
  const __m256i bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(f16)));
  return _mm256_mul_ps(_mm256_castsi256_ps(_mm256_slli_epi32(bits, 13)), _mm256_set1_ps(0x1p112f));
}

// Adds a superblock of 8 channels to the rows' sums. `minus_zeros` has 16 bits a lane.
template <typename Source, int kNumRows>
[[gnu::always_inline]] inline void add_superblock(const Source& source, int half, const int8_t* rows, size_t depth,
                                                  const __m256i (&minus_zeros)[kNumRows], __m256i (&dots)[kNumRows]) {
  __m256i parts[kNumRows][Source::kLevels], weights[Source::kLevels];
  for (__m256i& each : weights) each = _mm256_setzero_si256();
#pragma GCC unroll 2
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
    for (int k = 0; k < Source::kLevels; ++k) parts[r][k] = _mm256_setzero_si256();
  }
#pragma GCC unroll 4
  for (int pair = 0; pair < 4; ++pair) {
    __m256i nibbles[2][Source::kLevels];
    source.load(pair, half, nibbles);
#pragma GCC unroll 2
    for (int i = 0; i < 2; ++i) {
#pragma GCC unroll 2
      for (int k = 0; k < Source::kLevels; ++k) weights[k] = _mm256_add_epi8(weights[k], nibbles[i][k]);
#pragma GCC unroll 2
      for (size_t r = 0; r < kNumRows; ++r) {
        const __m256i activations = four(rows + r * depth + (pair * 2 + i) * kDepthPerBlock);
#pragma GCC unroll 2
        for (int k = 0; k < Source::kLevels; ++k) {
          parts[r][k] = _mm256_add_epi16(parts[r][k], _mm256_maddubs_epi16(nibbles[i][k], activations));
        }
      }
    }
  }
#pragma GCC unroll 2
  for (int k = 0; k < Source::kLevels; ++k) weights[k] = _mm256_maddubs_epi16(weights[k], _mm256_set1_epi8(1));
#pragma GCC unroll 2
  for (int r = 0; r < kNumRows; ++r) {
    __m256i sums[Source::kLevels];
#pragma GCC unroll 2
    for (int k = 0; k < Source::kLevels; ++k) {
      sums[k] = _mm256_add_epi32(to_32(parts[r][k]), _mm256_madd_epi16(weights[k], minus_zeros[r]));
    }
    dots[r] = _mm256_add_epi32(dots[r], _mm256_slli_epi32(sums[0], 4));
    if constexpr (Source::kLevels == 2) dots[r] = _mm256_add_epi32(dots[r], sums[1]);
  }
}

template <int kNumRows, typename Source>
void multiply_rows(const GroupTile& tile, Source source, const GroupRows& rows, float* out) {
  const size_t depth = rows.depth, a_row = depth / tile.group_size;
  const int8_t* codes = rows.codes;
  const int32_t* row_sums = rows.sums;
  const float* row_scales = rows.scales;
  __m256 sums[kNumRows][kHalves];
#pragma GCC unroll 2
  for (int r = 0; r < kNumRows; ++r) sums[r][0] = sums[r][1] = _mm256_setzero_ps();
  const uint8_t* scales = tile.scales;
  for (size_t at = 0; at < depth; scales += kMatrixChannels * sizeof(uint16_t)) {
    __m256i dots[kHalves][kNumRows], minus_zeros[kNumRows];
#pragma GCC unroll 2
    for (size_t r = 0; r < kNumRows; ++r) {
      const int32_t* group = row_sums + r * a_row * kGroupSums;
      const int32_t more = Source::middle(tile, group) + group[kShift];
      dots[0][r] = dots[1][r] = _mm256_set1_epi32(more);
      minus_zeros[r] = _mm256_set1_epi16(static_cast<int16_t>(group[kMinusZero]));
    }
    for (const size_t end = at + tile.group_size; at < end; at += kMatrixDepth) {
#pragma GCC unroll 2
      for (int half = 0; half < kHalves; ++half) {
        add_superblock(source, half, codes + at, depth, minus_zeros, dots[half]);
      }
      source.advance();
    }
#pragma GCC unroll 2
    for (int half = 0; half < kHalves; ++half) {
      const __m256 scale = load_scales(scales + half * 8 * sizeof(uint16_t));
#pragma GCC unroll 2
      for (size_t r = 0; r < kNumRows; ++r) {
        const __m256 both = _mm256_mul_ps(scale, _mm256_set1_ps(row_scales[r * a_row]));
        sums[r][half] = _mm256_add_ps(sums[r][half], _mm256_mul_ps(_mm256_cvtepi32_ps(dots[half][r]), both));
      }
    }
    row_sums += kGroupSums;
    ++row_scales;
  }
#pragma GCC unroll 2
  for (int r = 0; r < kNumRows; ++r) {
    for (int half = 0; half < kHalves; ++half) {
      _mm256_storeu_ps(out + r * kMatrixChannels + half * 8, sums[r][half]);
    }
  }
}

void multiply(const GroupTile& tile, const GroupOutput& output) {
  with_source<Unpacked, Packed<1>, Packed<2>>(tile, [&](auto source) {
    walk_rows<2, 1>(tile, output, [&](auto count, const GroupRows& rows, float* sums) {
      multiply_rows<count>(tile, source, rows, sums);
    });
  });
}

}  // namespace

constexpr GroupKernel groups_avx2 = [] {
  GroupKernel kernel;
  kernel.isa = "avx2";
  kernel.supported = has_avx2;
  kernel.rows = kRows;
  kernel.unpack = unpack_avx2;
  kernel.packed_rows = kPackedRows;
  kernel.multiply = multiply;
  return kernel;
}();

}  // namespace nq
#endif
