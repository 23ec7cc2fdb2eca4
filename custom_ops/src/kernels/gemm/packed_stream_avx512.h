// Codes that go from packed levels into products. Textual for files with AVX-512 flags: everything has internal
// linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include "kernels/gemm/gemm.h"
#define NQ_VECTOR_BYTES 64
#include "kernels/unpack/unpack_fields.h"

namespace nq {
namespace {

// Not the intrinsic: GCC 12 would copy accumulators around it, and lack registers for them.
[[gnu::always_inline]] inline __m512i add_products(__m512i sums, __m512i activation, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(activation), "v"(weights));
  return sums;
}

// What sums start from: a bias for every row, or what they were after the segments before.
struct Start {
  const int32_t* sums;
  size_t row_stride;
};

// One level, or two of 8 bits together, of kTileBlocks blocks of channels.
template <int kBits, bool kFull>
struct PackedStream {
  explicit PackedStream(const PackedTile& tile)
      : base(tile.levels.data[0]),
        residual(kFull ? tile.levels.data[1] : nullptr),
        base_stride(size_t{tile.block_superblocks} * kBits * kLineBytes),
        residual_stride(size_t{tile.block_superblocks} * (8 - kBits) * kLineBytes),
        middle(_mm512_set1_epi64(static_cast<int64_t>(tile.middle.block[0]))) {}

  // Of channels 16 b on, each plus 128 if kUnsigned.
  template <int kBlock, bool kUnsigned = false>
  [[gnu::always_inline]] inline __m512i codes(size_t b) const {
    const auto bits = reinterpret_cast<__m512i>(level_bits<kBits, kBlock, 8 - kBits>(base + b * base_stride));
    __m512i lower = middle;
    if constexpr (kFull) {
      lower = reinterpret_cast<__m512i>(level_bits<8 - kBits, kBlock, 0>(residual + b * residual_stride));
    }
    if constexpr (!kUnsigned) return _mm512_or_si512(bits, lower);
    constexpr int kOrThenXor = 0x56;
    return _mm512_ternarylogic_epi64(bits, lower, _mm512_set1_epi8(static_cast<char>(0x80)), kOrThenXor);
  }

  [[gnu::always_inline]] inline void next_superblock() {
    base += kBits * kLineBytes;
    if (kFull) residual += (8 - kBits) * kLineBytes;
  }

  const uint8_t *base, *residual;
  size_t base_stride, residual_stride;
  __m512i middle;
};

// Of the two operands of the multiply, the one that is plus 128.
enum class Unsigned { kActivations, kCodes };

template <int kBlock, Unsigned kUnsigned, typename Stream>
[[gnu::always_inline]] inline void add_row_step(const Stream& stream, __m512i activations,
                                                __m512i (&sums)[kTileBlocks]) {
  const __m512i four = _mm512_permutexvar_epi32(_mm512_set1_epi32(kBlock), activations);
#pragma GCC unroll 4
  for (size_t b = 0; b < kTileBlocks; ++b) {
    if constexpr (kUnsigned == Unsigned::kActivations) {
      sums[b] = add_products(sums[b], four, stream.template codes<kBlock>(b));
    } else {
      sums[b] = add_products(sums[b], stream.template codes<kBlock, true>(b), four);
    }
  }
}

// Where codes are plus 128, the products have 128 of each activation too many. Every other step has sums of its own, so
// that none waits for the one before.
template <Unsigned kUnsigned, int kBits, bool kFull>
void add_packed_row(const int8_t* row, const PackedTile& packed, uint32_t superblocks, int32_t* sums) {
  __m512i even[kTileBlocks], odd[kTileBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kTileBlocks; ++b) {
    even[b] = _mm512_loadu_si512(sums + b * kMatrixChannels);
    odd[b] = _mm512_setzero_si512();
  }
  [[maybe_unused]] __m512i of_activations = _mm512_setzero_si512();  // 128 of each
  PackedStream<kBits, kFull> stream(packed);
  for (uint32_t k = 0; k < superblocks; ++k, row += kMatrixDepth) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
    __m512i activations = _mm512_zextsi256_si512(codes);
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    if constexpr (kUnsigned == Unsigned::kActivations) {
      activations = _mm512_xor_si512(activations, sign);
    } else {
      of_activations = add_products(of_activations, sign, activations);
    }
    add_row_step<0, kUnsigned>(stream, activations, even);
    add_row_step<1, kUnsigned>(stream, activations, odd);
    add_row_step<2, kUnsigned>(stream, activations, even);
    add_row_step<3, kUnsigned>(stream, activations, odd);
    add_row_step<4, kUnsigned>(stream, activations, even);
    add_row_step<5, kUnsigned>(stream, activations, odd);
    add_row_step<6, kUnsigned>(stream, activations, even);
    add_row_step<7, kUnsigned>(stream, activations, odd);
    stream.next_superblock();
  }
  const __m512i offset = _mm512_set1_epi32(_mm512_reduce_add_epi32(of_activations));
#pragma GCC unroll 4
  for (int b = 0; b < kTileBlocks; ++b) {
    if constexpr (kUnsigned == Unsigned::kCodes) even[b] = _mm512_sub_epi32(even[b], offset);
    _mm512_storeu_si512(sums + b * kMatrixChannels, _mm512_add_epi32(even[b], odd[b]));
  }
}

template <Unsigned kUnsigned>
UnpackingRowFn find_unpacking_row(const PackedLevels& levels) {
#define NQ_BITS(full)                                                                                               \
  {                                                                                                                 \
    add_packed_row<kUnsigned, 1, full>, add_packed_row<kUnsigned, 2, full>, add_packed_row<kUnsigned, 3, full>,     \
        add_packed_row<kUnsigned, 4, full>, add_packed_row<kUnsigned, 5, full>, add_packed_row<kUnsigned, 6, full>, \
        add_packed_row<kUnsigned, 7, full>                                                                          \
  }
  constexpr UnpackingRowFn kUnpackingRow[2][7] = {NQ_BITS(false), NQ_BITS(true)};
#undef NQ_BITS
  const bool full = levels.num_levels == 2 && levels.bits[0] + levels.bits[1] == 8;
  if (levels.num_levels != 1 && !full) return nullptr;
  return kUnpackingRow[full ? 1 : 0][levels.bits[0] - 1];
}

}  // namespace
}  // namespace nq
