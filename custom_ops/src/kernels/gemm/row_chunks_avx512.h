// The activations of a tile's rows, each plus 128, a chunk of the depth at a time: the two ports that multiply change a
// sign once for 64 activations, where they would for every 4 of a tile, and all addresses are constants from one
// pointer. Textual for files with AVX-512 flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <immintrin.h>

#include <algorithm>

#include "kernels/gemm/gemm.h"

namespace nq {
namespace {

constexpr uint32_t kChunkDepth = kLineBytes;

// Inlined around the multiplication of a whole tile. The next chunk is made before one is used, for a load must wait
// for a store that is just behind it.
template <int kNumRows>
class RowChunks {
 public:
  struct Chunk {
    const int8_t* activations;  // kChunkDepth a row
    uint32_t depth;             // a multiple of 4; 0 behind the last one
  };

  [[gnu::always_inline]] explicit RowChunks(const GemmRows& rows) : rows_(rows) { make(); }

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

// For tiles of fewer rows, whose code is there for every number of them: several chunks at a time, by one function.
struct RowSegment {
  static constexpr uint32_t kChunks = 16;
  static constexpr int kMostRows = 11;

  alignas(kLineBytes) int8_t activations[kChunks * kMostRows * kChunkDepth];  // [chunk][row][kChunkDepth]
  uint32_t depths[kChunks];                                                   // multiples of 4
  uint32_t num_chunks;
};

// The segments of a tile's rows, one after the other.
class RowSegments {
 public:
  explicit RowSegments(const GemmRows& rows) : rows_(rows) { make(); }

  const RowSegment& segment() const { return segment_; }
  bool last() const { return piece_ == rows_.num_pieces; }

  // To be called while no sums are in registers.
  [[gnu::noinline]] void make() {
    const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
    int8_t* out = segment_.activations;
    for (segment_.num_chunks = 0; segment_.num_chunks < RowSegment::kChunks && !last(); ++segment_.num_chunks) {
      const uint32_t depth = std::min(rows_.piece_depth - at_, kChunkDepth);
      const auto mask = static_cast<__mmask16>((1u << depth / kDepthPerBlock) - 1);
      const int8_t* const* piece = rows_.pieces + piece_;
      for (int r = 0; r < rows_.num_rows; ++r, piece += rows_.num_pieces, out += kChunkDepth) {
        const __m512i codes = _mm512_maskz_loadu_epi32(mask, *piece + at_);
        _mm512_store_si512(out, _mm512_xor_si512(codes, sign));
      }
      segment_.depths[segment_.num_chunks] = depth;
      at_ += depth;
      if (at_ == rows_.piece_depth) at_ = 0, ++piece_;
    }
  }

 private:
  const GemmRows& rows_;
  uint32_t piece_ = 0, at_ = 0;
  RowSegment segment_;
};

}  // namespace
}  // namespace nq
