// A tile is up to 6 rows by 64 channels, or 12 by 32: 24 accumulators, the vectors of weights and an activation in 32
// registers. The multiply takes an unsigned operand, which is the activation plus 128.
#if defined(__AVX512VNNI__)
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm/gemm_avx512.h"
#define NQ_VECTOR_BYTES 64
#include "kernels/unpack/unpack_fields.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
void unpack_interleaved_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks,
                                   int8_t* codes);
extern const GemmKernel gemm_avx512vnni;

namespace {

constexpr int kRows = 6, kNarrowRows = 12, kNarrowBlocks = 2;
constexpr uint32_t kChunkDepth = kLineBytes;

// The activations of a tile's rows, each plus 128, a chunk of the depth at a time: the two ports that multiply change a
// sign once for 64 activations, where they would for every 4 of a tile, and all addresses are constants from one
// pointer. The next chunk is made before one is used, for a load must wait for a store that is just behind it.
template <int kNumRows>
class Chunks {
 public:
  struct Chunk {
    const int8_t* activations;  // kChunkDepth a row
    uint32_t depth;             // a multiple of 4; 0 behind the last one
  };

  explicit Chunks(const GemmRows& rows) : rows_(rows) { make(); }

  [[gnu::always_inline]] Chunk next() {
    const Chunk now = {memory_[side_], depth_};
    side_ ^= 1;
    make();
    return now;
  }

 private:
  [[gnu::always_inline]] void make() {
    depth_ = 0;
    if (piece_ == rows_.num_pieces) return;
    depth_ = rows_.piece_depth - at_;
    const int8_t* const* pieces = rows_.pieces + piece_;
    if (depth_ >= kChunkDepth) {
      depth_ = kChunkDepth;
      copy(pieces, [](const int8_t* from) { return _mm512_loadu_si512(from); });
    } else {
      const auto mask = static_cast<__mmask16>((1u << depth_ / kDepthPerBlock) - 1);
      copy(pieces, [mask](const int8_t* from) { return _mm512_maskz_loadu_epi32(mask, from); });
    }
    at_ += depth_;
    if (at_ == rows_.piece_depth) at_ = 0, ++piece_;
  }

  template <typename Load>
  [[gnu::always_inline]] void copy(const int8_t* const* pieces, const Load& load) {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
#pragma GCC unroll 12
    for (uint32_t r = 0; r < kNumRows; ++r) {
      const __m512i codes = load(pieces[r * rows_.num_pieces] + at_);
      _mm512_store_si512(memory_[side_] + r * kChunkDepth, _mm512_xor_si512(codes, sign));
    }
  }

  const GemmRows& rows_;
  uint32_t piece_ = 0, at_ = 0, depth_ = 0;
  size_t side_ = 0;
  alignas(kLineBytes) int8_t memory_[2][kNumRows * kChunkDepth];
};

// Four activations in every lane.
[[gnu::always_inline]] inline __m512i broadcast(const int8_t* activations) {
  int32_t four;
  std::memcpy(&four, activations, sizeof(four));
  return _mm512_set1_epi32(four);
}

template <int kNumRows, int kBlocks>
struct Sums {
  __m512i of[kNumRows][kBlocks];
};

// Not the intrinsic: GCC 12 would copy accumulators around it, and lack registers for them.
[[gnu::always_inline]] inline __m512i add_products(__m512i sums, __m512i activation, __m512i weights) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(activation), "v"(weights));
  return sums;
}

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline Sums<kNumRows, kBlocks> start_sums(const int32_t* bias) {
  Sums<kNumRows, kBlocks> sums;
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
    const __m512i of_block = _mm512_loadu_si512(bias + b * kMatrixChannels);
#pragma GCC unroll 12
    for (int r = 0; r < kNumRows; ++r) sums.of[r][b] = of_block;
  }
  return sums;
}

// Four of the depth.
template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline void add_step(const int8_t* activations, const __m512i (&weights)[kBlocks],
                                            Sums<kNumRows, kBlocks>* sums) {
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) {
    const __m512i activation = broadcast(activations + r * static_cast<int>(kChunkDepth));
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) sums->of[r][b] = add_products(sums->of[r][b], activation, weights[b]);
  }
}

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline Sums<kNumRows, kBlocks> multiply_tile(const GemmTile& tile) {
  Chunks<kNumRows> chunks(tile.rows);
  Sums<kNumRows, kBlocks> sums = start_sums<kNumRows, kBlocks>(tile.bias);
  const int8_t* codes = tile.codes;
  const auto* ahead = static_cast<const uint8_t*>(tile.ahead.bytes);
  for (auto chunk = chunks.next(); chunk.depth > 0; chunk = chunks.next()) {
    for (uint32_t at = 0; at < chunk.depth; at += kDepthPerBlock) {
      __builtin_prefetch(ahead, 0, 2);
      __m512i weights[kBlocks];
#pragma GCC unroll 4
      for (int b = 0; b < kBlocks; ++b) weights[b] = _mm512_loadu_si512(codes + b * kLineBytes);
      add_step(chunk.activations + at, weights, &sums);
      codes += kInterleavedStride;
      ahead += tile.ahead.step;
    }
  }
  return sums;
}

// Whole tiles alone; the sums of others go through memory.
template <int kNumRows, int kBlocks, Clamp kClamp>
void multiply_and_store(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                        uint32_t num_channels) {
  const Sums<kNumRows, kBlocks> sums = multiply_tile<kNumRows, kBlocks>(tile);
  const RowRequantizer<kBlocks, kClamp> requantizer(requantization, num_channels);
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) requantizer.store(sums.of[r], out + r * out_stride);
}

using StoreFn = void (*)(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                         uint32_t num_channels);
#define NQ_BLOCKS(clamp)                                                                 \
  {multiply_and_store<kNarrowRows, 1, clamp>, multiply_and_store<kNarrowRows, 2, clamp>, \
   multiply_and_store<kRows, 3, clamp>, multiply_and_store<kRows, 4, clamp>}
constexpr StoreFn kStore[kClamps - 1][kTileBlocks] = {NQ_BLOCKS(Clamp::kFromLowest), NQ_BLOCKS(Clamp::kSaturates),
                                                      NQ_BLOCKS(Clamp::kCodes)};
#undef NQ_BLOCKS

constexpr int rows_of(int num_blocks) { return num_blocks <= kNarrowBlocks ? kNarrowRows : kRows; }

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline void store_sums(const Sums<kNumRows, kBlocks>& sums, int32_t* out) {
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) _mm512_storeu_si512(out + r * kTileChannels + b * kMatrixChannels, sums.of[r][b]);
  }
}

template <int kNumRows, int kBlocks>
void accumulate_tile(const GemmTile& tile, int32_t* out) {
  store_sums(multiply_tile<kNumRows, kBlocks>(tile), out);
}

#define NQ_NARROW(rows) accumulate_tile<rows, 1>, accumulate_tile<rows, 2>
#define NQ_BLOCKS(rows) {NQ_NARROW(rows), accumulate_tile<rows, 3>, accumulate_tile<rows, 4>}
constexpr decltype(&accumulate_tile<1, 1>) kAccumulate[kNarrowRows][kTileBlocks] = {
    NQ_BLOCKS(1),   NQ_BLOCKS(2),   NQ_BLOCKS(3),   NQ_BLOCKS(4),    NQ_BLOCKS(5),    NQ_BLOCKS(6),
    {NQ_NARROW(7)}, {NQ_NARROW(8)}, {NQ_NARROW(9)}, {NQ_NARROW(10)}, {NQ_NARROW(11)}, {NQ_NARROW(12)}};
#undef NQ_BLOCKS
#undef NQ_NARROW

void accumulate(const GemmTile& tile, int32_t* sums) {
  kAccumulate[tile.rows.num_rows - 1][tile.num_blocks - 1](tile, sums);
}

// One level, or two of 8 bits together, of kTileBlocks blocks of channels.
template <int kBits, bool kFull>
struct PackedStream {
  explicit PackedStream(const PackedTile& tile)
      : base(tile.levels.data[0]),
        residual(kFull ? tile.levels.data[1] : nullptr),
        base_stride(size_t{tile.block_superblocks} * kBits * kLineBytes),
        residual_stride(size_t{tile.block_superblocks} * (8 - kBits) * kLineBytes),
        middle(_mm512_set1_epi64(static_cast<int64_t>(tile.middle.block[0]))) {}

  // Of channels 16 b on.
  template <int kBlock>
  [[gnu::always_inline]] inline __m512i codes(size_t b) const {
    const Vector bits = level_bits<kBits, kBlock, 8 - kBits>(base + b * base_stride);
    if constexpr (kFull) {
      return reinterpret_cast<__m512i>(bits | level_bits<8 - kBits, kBlock, 0>(residual + b * residual_stride));
    } else {
      return _mm512_or_si512(reinterpret_cast<__m512i>(bits), middle);
    }
  }

  [[gnu::always_inline]] inline void next_superblock() {
    base += kBits * kLineBytes;
    if (kFull) residual += (8 - kBits) * kLineBytes;
  }

  const uint8_t *base, *residual;
  size_t base_stride, residual_stride;
  __m512i middle;
};

template <int kBlock, typename Stream>
[[gnu::always_inline]] inline void add_packed_step(const Stream& stream, const int8_t* activations, int8_t* codes,
                                                   Sums<kRows, kTileBlocks>* sums) {
  __m512i weights[kTileBlocks];
#pragma GCC unroll 4
  for (size_t b = 0; b < kTileBlocks; ++b) {
    weights[b] = stream.template codes<kBlock>(b);
    _mm512_storeu_si512(codes + kBlock * kInterleavedStride + b * kLineBytes, weights[b]);
  }
  add_step(activations + kBlock * kDepthPerBlock, weights, sums);
}

template <int kBits, bool kFull>
void unpack_and_accumulate(const GemmTile& tile, const PackedTile& packed, int8_t* codes, int32_t* out) {
  Chunks<kRows> chunks(tile.rows);
  Sums<kRows, kTileBlocks> sums = start_sums<kRows, kTileBlocks>(tile.bias);
  PackedStream<kBits, kFull> stream(packed);
  for (auto chunk = chunks.next(); chunk.depth > 0; chunk = chunks.next()) {
    for (uint32_t at = 0; at < chunk.depth; at += kMatrixDepth) {
      const int8_t* activations = chunk.activations + at;
      add_packed_step<0>(stream, activations, codes, &sums);
      add_packed_step<1>(stream, activations, codes, &sums);
      add_packed_step<2>(stream, activations, codes, &sums);
      add_packed_step<3>(stream, activations, codes, &sums);
      add_packed_step<4>(stream, activations, codes, &sums);
      add_packed_step<5>(stream, activations, codes, &sums);
      add_packed_step<6>(stream, activations, codes, &sums);
      add_packed_step<7>(stream, activations, codes, &sums);
      codes += kBlocksPerSuperblock * kInterleavedStride;
      stream.next_superblock();
    }
  }
  store_sums(sums, out);
}

#define NQ_BITS(full)                                                                              \
  {unpack_and_accumulate<1, full>, unpack_and_accumulate<2, full>, unpack_and_accumulate<3, full>, \
   unpack_and_accumulate<4, full>, unpack_and_accumulate<5, full>, unpack_and_accumulate<6, full>, \
   unpack_and_accumulate<7, full>}
constexpr UnpackingFn kUnpacking[2][7] = {NQ_BITS(false), NQ_BITS(true)};
#undef NQ_BITS

template <int kBlock, typename Stream>
[[gnu::always_inline]] inline void add_row_step(const Stream& stream, __m512i activations,
                                                __m512i (&sums)[kTileBlocks]) {
  const __m512i four = _mm512_permutexvar_epi32(_mm512_set1_epi32(kBlock), activations);
#pragma GCC unroll 4
  for (size_t b = 0; b < kTileBlocks; ++b) sums[b] = add_products(sums[b], four, stream.template codes<kBlock>(b));
}

// Every other step has sums of its own, so that none waits for the one before.
template <int kBits, bool kFull>
void add_packed_row(const int8_t* row, const PackedTile& packed, uint32_t superblocks, int32_t* sums) {
  __m512i even[kTileBlocks], odd[kTileBlocks];
#pragma GCC unroll 4
  for (int b = 0; b < kTileBlocks; ++b) {
    even[b] = _mm512_loadu_si512(sums + b * kMatrixChannels);
    odd[b] = _mm512_setzero_si512();
  }
  PackedStream<kBits, kFull> stream(packed);
  for (uint32_t k = 0; k < superblocks; ++k, row += kMatrixDepth) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(row));
    const __m512i activations =
        _mm512_castsi256_si512(_mm256_xor_si256(codes, _mm256_set1_epi8(static_cast<char>(0x80))));
    add_row_step<0>(stream, activations, even);
    add_row_step<1>(stream, activations, odd);
    add_row_step<2>(stream, activations, even);
    add_row_step<3>(stream, activations, odd);
    add_row_step<4>(stream, activations, even);
    add_row_step<5>(stream, activations, odd);
    add_row_step<6>(stream, activations, even);
    add_row_step<7>(stream, activations, odd);
    stream.next_superblock();
  }
#pragma GCC unroll 4
  for (int b = 0; b < kTileBlocks; ++b) {
    _mm512_storeu_si512(sums + b * kMatrixChannels, _mm512_add_epi32(even[b], odd[b]));
  }
}

#define NQ_BITS(full)                                                                                  \
  {add_packed_row<1, full>, add_packed_row<2, full>, add_packed_row<3, full>, add_packed_row<4, full>, \
   add_packed_row<5, full>, add_packed_row<6, full>, add_packed_row<7, full>}
constexpr UnpackingRowFn kUnpackingRow[2][7] = {NQ_BITS(false), NQ_BITS(true)};
#undef NQ_BITS

UnpackingRowFn find_unpacking_row(const PackedLevels& levels) {
  const bool full = levels.num_levels == 2 && levels.bits[0] + levels.bits[1] == 8;
  if (levels.num_levels != 1 && !full) return nullptr;
  return kUnpackingRow[full ? 1 : 0][levels.bits[0] - 1];
}

UnpackingFn find_unpacking(const PackedLevels& levels) {
  const bool full = levels.num_levels == 2 && levels.bits[0] + levels.bits[1] == 8;
  if (levels.num_levels != 1 && !full) return nullptr;
  return kUnpacking[full ? 1 : 0][levels.bits[0] - 1];
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  const Clamp clamp = clamp_of(requantization);
  if (clamp != Clamp::kSums && tile.rows.num_rows == rows_of(tile.num_blocks)) {
    const StoreFn store = kStore[static_cast<int>(clamp)][tile.num_blocks - 1];
    return store(tile, requantization, out, out_stride, num_channels);
  }
  alignas(kLineBytes) int32_t sums[kNarrowRows * kTileChannels];
  accumulate(tile, sums);
  requantize_rows(sums, tile.rows.num_rows, requantization, out, out_stride, num_channels);
}

}  // namespace

constexpr GemmKernel gemm_avx512vnni = [] {
  GemmKernel kernel;
  kernel.isa = "avx512vnni";
  kernel.supported = has_avx512vnni;
  kernel.rows = kRows;
  kernel.narrow = {kNarrowRows, kNarrowBlocks};
  kernel.sum_offset = 128;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_avx512vnni;
  kernel.codes.unpack_interleaved = unpack_interleaved_avx512vnni;
  kernel.codes.find_unpacking = find_unpacking;
  kernel.codes.find_unpacking_row = find_unpacking_row;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  return kernel;
}();

}  // namespace nq
#endif
