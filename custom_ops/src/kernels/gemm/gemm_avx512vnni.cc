// A tile is up to 6 rows by 64 channels, or 12 by 32: 24 accumulators, the vectors of weights and an activation in 32
// registers. The multiply takes an unsigned operand, which is the activation plus 128.
#if defined(__AVX512VNNI__)
#include <cstring>

#include "kernels/cpu.h"
#include "kernels/gemm/gemm_avx512.h"
#include "kernels/gemm/packed_stream_avx512.h"
#include "kernels/gemm/row_chunks_avx512.h"

namespace nq {

void unpack_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
void unpack_interleaved_avx512vnni(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks,
                                   int8_t* codes);
extern const GemmKernel gemm_avx512vnni;

namespace {

constexpr int kRows = 6, kNarrowRows = 12, kNarrowBlocks = 2;
constexpr int rows_of(int num_blocks) { return num_blocks <= kNarrowBlocks ? kNarrowRows : kRows; }

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

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline Sums<kNumRows, kBlocks> start_sums(const Start& start) {
  Sums<kNumRows, kBlocks> sums;
#pragma GCC unroll 4
  for (int b = 0; b < kBlocks; ++b) {
#pragma GCC unroll 12
    for (int r = 0; r < kNumRows; ++r) {
      sums.of[r][b] = _mm512_loadu_si512(start.sums + r * start.row_stride + b * kMatrixChannels);
    }
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

// What goes on from segment to segment.
struct Stream {
  const int8_t* codes;
  const uint8_t* ahead;
  size_t ahead_step;
};

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline void multiply_chunk(const int8_t* activations, uint32_t depth, Stream* stream,
                                                  Sums<kNumRows, kBlocks>* sums) {
  for (uint32_t at = 0; at < depth; at += kDepthPerBlock) {
    __builtin_prefetch(stream->ahead, 0, 2);
    __m512i weights[kBlocks];
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) weights[b] = _mm512_loadu_si512(stream->codes + b * kLineBytes);
    add_step(activations + at, weights, sums);
    stream->codes += kInterleavedStride;
    stream->ahead += stream->ahead_step;
  }
}

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline void store_sums(const Sums<kNumRows, kBlocks>& sums, int32_t* out) {
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
    for (int b = 0; b < kBlocks; ++b) _mm512_storeu_si512(out + r * kTileChannels + b * kMatrixChannels, sums.of[r][b]);
  }
}

template <int kNumRows, int kBlocks>
[[gnu::always_inline]] inline Sums<kNumRows, kBlocks> multiply_tile(const GemmTile& tile) {
  RowChunks<kNumRows> chunks(tile.rows);
  Sums<kNumRows, kBlocks> sums = start_sums<kNumRows, kBlocks>({tile.bias, 0});
  Stream stream = {tile.codes, static_cast<const uint8_t*>(tile.ahead.bytes), tile.ahead.step};
  for (auto chunk = chunks.next(); chunk.depth > 0; chunk = chunks.next()) {
    multiply_chunk(chunk.activations, chunk.depth, &stream, &sums);
  }
  return sums;
}

template <int kNumRows, int kBlocks>
void accumulate_tile(const GemmTile& tile, int32_t* out) {
  store_sums(multiply_tile<kNumRows, kBlocks>(tile), out);
}

constexpr decltype(&accumulate_tile<1, 1>) kAccumulateTile[kTileBlocks] = {
    accumulate_tile<kNarrowRows, 1>, accumulate_tile<kNarrowRows, 2>, accumulate_tile<kRows, 3>,
    accumulate_tile<kRows, 4>};

// Of fewer rows than a whole tile has.
template <int kNumRows, int kBlocks>
void accumulate_segment(const RowSegment& segment, const Start& start, Stream* of_tile, int32_t* out) {
  Sums<kNumRows, kBlocks> sums = start_sums<kNumRows, kBlocks>(start);
  Stream stream = *of_tile;
  const int8_t* activations = segment.activations;
  for (uint32_t c = 0; c < segment.num_chunks; ++c, activations += kNumRows * kChunkDepth) {
    multiply_chunk(activations, segment.depths[c], &stream, &sums);
  }
  *of_tile = stream;
  store_sums(sums, out);
}

#define NQ_NARROW(rows) accumulate_segment<rows, 1>, accumulate_segment<rows, 2>
#define NQ_BLOCKS(rows) {NQ_NARROW(rows), accumulate_segment<rows, 3>, accumulate_segment<rows, 4>}
constexpr decltype(&accumulate_segment<1, 1>) kAccumulate[kNarrowRows - 1][kTileBlocks] = {
    NQ_BLOCKS(1),   NQ_BLOCKS(2),   NQ_BLOCKS(3),   NQ_BLOCKS(4),    NQ_BLOCKS(5),   {NQ_NARROW(6)},
    {NQ_NARROW(7)}, {NQ_NARROW(8)}, {NQ_NARROW(9)}, {NQ_NARROW(10)}, {NQ_NARROW(11)}};
#undef NQ_BLOCKS
#undef NQ_NARROW

void accumulate(const GemmTile& tile, int32_t* sums) {
  if (tile.rows.num_rows == rows_of(tile.num_blocks)) return kAccumulateTile[tile.num_blocks - 1](tile, sums);
  const auto accumulate = kAccumulate[tile.rows.num_rows - 1][tile.num_blocks - 1];
  RowSegments segments(tile.rows);
  Stream stream = {tile.codes, static_cast<const uint8_t*>(tile.ahead.bytes), tile.ahead.step};
  for (Start start = {tile.bias, 0};; start = {sums, kTileChannels}) {
    accumulate(segments.segment(), start, &stream, sums);
    if (segments.last()) return;
    segments.make();
  }
}

template <int kNumRows, int kBlocks, Clamp kClamp>
[[gnu::always_inline]] inline void store_codes(const Sums<kNumRows, kBlocks>& sums,
                                               const Requantization& requantization, int8_t* out, size_t out_stride,
                                               uint32_t num_channels) {
  const RowRequantizer<kBlocks, kClamp> requantizer(requantization, num_channels);
#pragma GCC unroll 12
  for (int r = 0; r < kNumRows; ++r) requantizer.store(sums.of[r], out + r * out_stride);
}

// Whole tiles alone; the sums of others go through memory.
template <int kNumRows, int kBlocks>
void multiply_and_store(const GemmTile& tile, Clamp clamp, const Requantization& requantization, int8_t* out,
                        size_t out_stride, uint32_t num_channels) {
  const Sums<kNumRows, kBlocks> sums = multiply_tile<kNumRows, kBlocks>(tile);
  switch (clamp) {
    case Clamp::kFromLowest:
      return store_codes<kNumRows, kBlocks, Clamp::kFromLowest>(sums, requantization, out, out_stride, num_channels);
    case Clamp::kSaturates:
      return store_codes<kNumRows, kBlocks, Clamp::kSaturates>(sums, requantization, out, out_stride, num_channels);
    default:
      return store_codes<kNumRows, kBlocks, Clamp::kCodes>(sums, requantization, out, out_stride, num_channels);
  }
}

constexpr decltype(&multiply_and_store<1, 1>) kStore[kTileBlocks] = {
    multiply_and_store<kNarrowRows, 1>, multiply_and_store<kNarrowRows, 2>, multiply_and_store<kRows, 3>,
    multiply_and_store<kRows, 4>};

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

// The first chunk is made in here, once for all bit-widths.
[[gnu::noinline]] RowChunks<kRows> chunks_of(const GemmRows& rows) { return RowChunks<kRows>(rows); }

template <int kBits, bool kFull>
void unpack_and_accumulate(const GemmTile& tile, const PackedTile& packed, int8_t* codes, int32_t* out) {
  RowChunks<kRows> chunks = chunks_of(tile.rows);
  Sums<kRows, kTileBlocks> sums = start_sums<kRows, kTileBlocks>({tile.bias, 0});
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

UnpackingFn find_unpacking(const PackedLevels& levels) {
  const bool full = levels.num_levels == 2 && levels.bits[0] + levels.bits[1] == 8;
  if (levels.num_levels != 1 && !full) return nullptr;
  return kUnpacking[full ? 1 : 0][levels.bits[0] - 1];
}

void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  const Clamp clamp = clamp_of(requantization);
  if (clamp != Clamp::kSums && tile.rows.num_rows == rows_of(tile.num_blocks)) {
    return kStore[tile.num_blocks - 1](tile, clamp, requantization, out, out_stride, num_channels);
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
  kernel.codes.find_unpacking_row = find_unpacking_row<Unsigned::kActivations>;
  kernel.multiply = multiply;
  kernel.sums.accumulate = accumulate;
  kernel.sums.requantize = requantize_row;
  kernel.sums.dequantize = dequantize_rows;
  return kernel;
}();

}  // namespace nq
#endif
