// A line of codes, 16 channels by 4 of the depth, is a vector of unsigned bytes, the codes plus 128; four activations
// of a row are the signed operand, straight from memory. What 128 adds is known from the activations' sums; the sums of
// the weights, which the zero points multiply, are one more row, of ones. Nibbles become codes in registers, so that a
// single row reads no more than the packed bytes.
#if defined(__AVX512F__)
#include <immintrin.h>

#include "kernels/cpu.h"
#include "kernels/groups/group_tiles.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GroupKernel groups_avx512vnni;

namespace {

constexpr int kRows = 12;  // as many dot products, and sums of them, as there are registers for
constexpr int kPackedRows = 4;
constexpr int kTernarySelect = 0xCA, kTernaryAndXor = 0x6A;

struct Line {
  __m512i of[kBlocksPerSuperblock];
};

// Packed bytes so far ahead are fetched: the processor's own prefetching ends with each page. Reads beyond the end of a
// level are no errors.
constexpr int kAhead = 4096, kScalesAhead = 512;

[[gnu::always_inline]] inline void fetch(const uint8_t* bytes) { __builtin_prefetch(bytes); }

inline __m512i load_line(const void* bytes) { return _mm512_loadu_si512(bytes); }

// Codes plus 128.
void unpack_unsigned(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  unpack_avx512vnni(levels, middle, num_superblocks, codes);
  for (size_t i = 0; i < num_superblocks * kSuperblockWeights; i += kLineBytes) {
    _mm512_storeu_si512(codes + i, _mm512_xor_si512(load_line(codes + i), _mm512_set1_epi8(-128)));
  }
}

// The codes of a tile that are unpacked already.
struct Unpacked {
  explicit Unpacked(const GroupTile& tile) : codes(tile.codes) {}

  [[gnu::always_inline]] inline void next(Line* line) {
#pragma GCC unroll 8
    for (int b = 0; b < kBlocksPerSuperblock; ++b) {
      line->of[b] = load_line(codes + b * kLineBytes);
    }
    codes += kSuperblockWeights;
  }

  const int8_t* codes;
};

// One level of 4 bits: two blocks a line, the first in the low nibbles. (x & mask) ^ flip gives the code with the
// middle of its cell and its sign turned.
struct OneLevel {
  explicit OneLevel(const GroupTile& tile)
      : bytes(tile.levels.data[0]),
        mask(_mm512_set1_epi8(-16)),
        flip(_mm512_xor_si512(_mm512_set1_epi8(-128),
                              _mm512_set1_epi16(static_cast<int16_t>(tile.even | tile.odd << 8)))) {}

  [[gnu::always_inline]] inline void next(Line* line) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      fetch(bytes + i * kLineBytes + kAhead);
      const __m512i packed = load_line(bytes + i * kLineBytes);
      // imm: (a & b) ^ c
      line->of[2 * i] = _mm512_ternarylogic_epi64(_mm512_slli_epi16(packed, 4), mask, flip, kTernaryAndXor);
      line->of[2 * i + 1] = _mm512_ternarylogic_epi64(packed, mask, flip, kTernaryAndXor);
    }
    bytes += 4 * kLineBytes;
  }

  const uint8_t* bytes;
  __m512i mask, flip;
};

// Two levels of 4 bits: the nibbles of both, one above the other.
struct TwoLevels {
  explicit TwoLevels(const GroupTile& tile)
      : upper(tile.levels.data[0]), lower(tile.levels.data[1]), mask(_mm512_set1_epi8(-16)) {}

  [[gnu::always_inline]] inline void next(Line* line) {
    const __m512i signs = _mm512_set1_epi8(static_cast<char>(0x88));
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      fetch(upper + i * kLineBytes + kAhead);
      fetch(lower + i * kLineBytes + kAhead);
      const __m512i above = _mm512_xor_si512(load_line(upper + i * kLineBytes), signs);
      const __m512i below = load_line(lower + i * kLineBytes);
      // imm: mask ? b : c
      line->of[2 * i] = _mm512_ternarylogic_epi64(mask, _mm512_slli_epi16(above, 4), below, kTernarySelect);
      line->of[2 * i + 1] = _mm512_ternarylogic_epi64(mask, above, _mm512_srli_epi16(below, 4), kTernarySelect);
    }
    upper += 4 * kLineBytes;
    lower += 4 * kLineBytes;
  }

  const uint8_t *upper, *lower;
  __m512i mask;
};

inline __m512i four(const int8_t* activations) {
  int32_t all;
  std::memcpy(&all, activations, sizeof(all));
  return _mm512_set1_epi32(all);
}

template <int kNumRows, typename Source>
void multiply_rows(const GroupTile& tile, Source source, const GroupRows& rows, float* out) {
  // Few rows wait for their own sums.
  constexpr int kChains = kNumRows <= 2 ? 2 : 1;
  const size_t depth = rows.depth, a_row = depth / tile.group_size;
  const int8_t* codes = rows.codes;
  const int32_t* row_sums = rows.sums;
  const float* row_scales = rows.scales;
  __m512 sums[kNumRows];
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) sums[r] = _mm512_setzero_ps();
  const uint8_t* scales = tile.scales;
  for (size_t at = 0; at < depth; scales += kMatrixChannels * sizeof(uint16_t)) {
    __m512i dots[kNumRows], others[kNumRows], weights[kChains];
    for (__m512i& each : weights) each = _mm512_setzero_si512();
#pragma GCC unroll 12
    for (size_t r = 0; r < kNumRows; ++r) {
      dots[r] = _mm512_set1_epi32(row_sums[r * a_row * kGroupSums + kShift]);
      others[r] = _mm512_setzero_si512();
    }
    for (const size_t end = at + tile.group_size; at < end; at += kMatrixDepth) {
      Line line;
      source.next(&line);
#pragma GCC unroll 8
      for (size_t b = 0; b < kBlocksPerSuperblock; ++b) {
        __m512i* weight = &weights[b % kChains];
        *weight = _mm512_dpbusd_epi32(*weight, line.of[b], _mm512_set1_epi8(1));
#pragma GCC unroll 12
        for (size_t r = 0; r < kNumRows; ++r) {
          __m512i* dot = b % kChains == 0 ? &dots[r] : &others[r];
          *dot = _mm512_dpbusd_epi32(*dot, line.of[b], four(codes + r * depth + at + b * kDepthPerBlock));
        }
      }
    }
    fetch(scales + kScalesAhead);
    const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(scales)));
    // At most 128 * 255: its upper 16 bits are 0.
    const __m512i weight = kChains == 1 ? weights[0] : _mm512_add_epi32(weights[0], weights[kChains - 1]);
#pragma GCC unroll 12
    for (size_t r = 0; r < kNumRows; ++r) {
      const __m512i minus_zero = _mm512_set1_epi32(row_sums[r * a_row * kGroupSums + kMinusZero]);
      const __m512i sum = kChains == 1 ? dots[r] : _mm512_add_epi32(dots[r], others[r]);
      const __m512i dot = _mm512_dpwssd_epi32(sum, weight, minus_zero);
      const __m512 both = _mm512_mul_ps(scale, _mm512_set1_ps(row_scales[r * a_row]));
      sums[r] = _mm512_add_ps(sums[r], _mm512_mul_ps(_mm512_cvtepi32_ps(dot), both));
    }
    row_sums += kGroupSums;
    ++row_scales;
  }
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) _mm512_storeu_ps(out + r * kMatrixChannels, sums[r]);
}

void multiply(const GroupTile& tile, const GroupOutput& output) {
  with_source<Unpacked, OneLevel, TwoLevels>(tile, [&](auto source) {
    const auto run = [&](auto count, const GroupRows& rows, float* sums) {
      multiply_rows<count>(tile, source, rows, sums);
    };
    if constexpr (std::is_same_v<decltype(source), Unpacked>) {
      walk_rows<kRows, 8, 4, 2, 1>(tile, output, run);
    } else {
      walk_rows<kPackedRows, 2, 1>(tile, output, run);
    }
  });
}

}  // namespace

constexpr GroupKernel groups_avx512vnni = [] {
  GroupKernel kernel;
  kernel.isa = "avx512vnni";
  kernel.supported = has_avx512vnni;
  kernel.rows = kRows;
  kernel.unpack = unpack_unsigned;
  kernel.packed_rows = kPackedRows;
  kernel.multiply = multiply;
  return kernel;
}();

}  // namespace nq
#endif
