// Unpacking over vectors of 64-bit words, compiled once for each ISA: the including file defines NQ_UNPACK_FUNCTION and
// NQ_VECTOR_BYTES, perhaps NQ_UNPACK_INTERLEAVED_FUNCTION, and CMake gives it its flags. Textual, without an include
// guard.
//
// Everything here has internal linkage, and no library template is used: a function with external linkage compiled with
// ISA flags could be the copy that the linker keeps for callers on every CPU.
#include "kernels/unpack/unpack_fields.h"

namespace nq {
namespace {

// ORs one block's field of a plane into its codes; `plane` and `codes` are at the same column of their lines.
template <int kWidth, int kBlock>
inline void merge_field(const uint8_t* plane, int position, Vector* codes) {
  constexpr uint64_t kMask = repeat_byte((1u << kWidth) - 1);
  constexpr int kLine = kBlock * kWidth / 8, kShift = kBlock * kWidth % 8;
  Vector line;
  load_vector(plane + kLine * kLineBytes, &line);
  *codes |= ((line >> kShift) & kMask) << position;
}

// ORs one block's bits of a level into its codes, `position` being the lowest of them in a code. The first level finds
// no codes yet, but the middle of the cell.
template <size_t kStride, int kBits, bool kFirst, int kBlock>
inline void merge_block(const uint8_t* superblock, int position, const CellMiddle& middle, int8_t* codes) {
  for (int column = 0; column < kLineBytes; column += NQ_VECTOR_BYTES) {
    const uint8_t* plane = superblock + column;
    int8_t* out = codes + kBlock * kStride + column;
    Vector merged = Vector{} + middle.block[kBlock];
    if constexpr (!kFirst) load_vector(out, &merged);
    if constexpr ((kBits & 4) != 0) merge_field<4, kBlock>(plane, position + (kBits & 3), &merged);
    if constexpr ((kBits & 2) != 0)
      merge_field<2, kBlock>(plane + (kBits & 4) * kLineBytes, position + (kBits & 1), &merged);
    if constexpr ((kBits & 1) != 0) merge_field<1, kBlock>(plane + (kBits & 6) * kLineBytes, position, &merged);
    store_vector(merged, out);
  }
}

template <size_t kStride, int kBits, bool kFirst>
inline void merge_superblock(const uint8_t* superblock, int position, const CellMiddle& middle, int8_t* codes) {
  merge_block<kStride, kBits, kFirst, 0>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 1>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 2>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 3>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 4>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 5>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 6>(superblock, position, middle, codes);
  merge_block<kStride, kBits, kFirst, 7>(superblock, position, middle, codes);
}

template <size_t kStride, bool kFirst>
inline void merge_level(const uint8_t* superblock, int bits, int position, const CellMiddle& middle, int8_t* codes) {
  switch (bits) {
    case 1:
      return merge_superblock<kStride, 1, kFirst>(superblock, position, middle, codes);
    case 2:
      return merge_superblock<kStride, 2, kFirst>(superblock, position, middle, codes);
    case 3:
      return merge_superblock<kStride, 3, kFirst>(superblock, position, middle, codes);
    case 4:
      return merge_superblock<kStride, 4, kFirst>(superblock, position, middle, codes);
    case 5:
      return merge_superblock<kStride, 5, kFirst>(superblock, position, middle, codes);
    case 6:
      return merge_superblock<kStride, 6, kFirst>(superblock, position, middle, codes);
    default:
      return merge_superblock<kStride, 7, kFirst>(superblock, position, middle, codes);
  }
}

template <size_t kStride>
inline void unpack_superblock(const PackedLevels& levels, const CellMiddle& middle, size_t superblock, int8_t* codes) {
  int position = 8;
  for (int k = 0; k < levels.num_levels; ++k) {
    const int bits = levels.bits[k];
    const uint8_t* data = levels.data[k] + superblock * bits * kLineBytes;
    position -= bits;
    k == 0 ? merge_level<kStride, true>(data, bits, position, middle, codes)
           : merge_level<kStride, false>(data, bits, position, middle, codes);
  }
}

// The common nestings, levels merged in registers: one level, or two of 8 bits together.

template <size_t kStride, int kBits, int kBlock>
inline void write_part_block(const uint8_t* __restrict superblock, const CellMiddle& middle, int8_t* __restrict codes) {
  for (int column = 0; column < kLineBytes; column += NQ_VECTOR_BYTES) {
    const Vector bits = level_bits<kBits, kBlock, 8 - kBits>(superblock + column) | middle.block[kBlock];
    store_vector(bits, codes + kBlock * kStride + column);
  }
}

template <size_t kStride, int kBits, int kBlock>
inline void write_full_block(const uint8_t* __restrict base, const uint8_t* __restrict residual,
                             int8_t* __restrict codes) {
  for (int column = 0; column < kLineBytes; column += NQ_VECTOR_BYTES) {
    const Vector bits =
        level_bits<kBits, kBlock, 8 - kBits>(base + column) | level_bits<8 - kBits, kBlock, 0>(residual + column);
    store_vector(bits, codes + kBlock * kStride + column);
  }
}

template <size_t kStride, int kBits>
void unpack_part(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  const uint8_t* base = levels.data[0];
  for (; num_superblocks > 0; --num_superblocks, base += kBits * kLineBytes, codes += kBlocksPerSuperblock * kStride) {
    write_part_block<kStride, kBits, 0>(base, middle, codes);
    write_part_block<kStride, kBits, 1>(base, middle, codes);
    write_part_block<kStride, kBits, 2>(base, middle, codes);
    write_part_block<kStride, kBits, 3>(base, middle, codes);
    write_part_block<kStride, kBits, 4>(base, middle, codes);
    write_part_block<kStride, kBits, 5>(base, middle, codes);
    write_part_block<kStride, kBits, 6>(base, middle, codes);
    write_part_block<kStride, kBits, 7>(base, middle, codes);
  }
}

template <size_t kStride, int kBits>
void unpack_full(const PackedLevels& levels, size_t num_superblocks, int8_t* codes) {
  const uint8_t *base = levels.data[0], *residual = levels.data[1];
  for (; num_superblocks > 0; --num_superblocks, codes += kBlocksPerSuperblock * kStride) {
    write_full_block<kStride, kBits, 0>(base, residual, codes);
    write_full_block<kStride, kBits, 1>(base, residual, codes);
    write_full_block<kStride, kBits, 2>(base, residual, codes);
    write_full_block<kStride, kBits, 3>(base, residual, codes);
    write_full_block<kStride, kBits, 4>(base, residual, codes);
    write_full_block<kStride, kBits, 5>(base, residual, codes);
    write_full_block<kStride, kBits, 6>(base, residual, codes);
    write_full_block<kStride, kBits, 7>(base, residual, codes);
    base += kBits * kLineBytes;
    residual += (8 - kBits) * kLineBytes;
  }
}

using UnpackPart = void (*)(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks,
                            int8_t* codes);
using UnpackFull = void (*)(const PackedLevels& levels, size_t num_superblocks, int8_t* codes);
template <size_t kStride>
constexpr UnpackPart kUnpackPart[] = {unpack_part<kStride, 1>, unpack_part<kStride, 2>, unpack_part<kStride, 3>,
                                      unpack_part<kStride, 4>, unpack_part<kStride, 5>, unpack_part<kStride, 6>,
                                      unpack_part<kStride, 7>};
template <size_t kStride>
constexpr UnpackFull kUnpackFull[] = {unpack_full<kStride, 1>, unpack_full<kStride, 2>, unpack_full<kStride, 3>,
                                      unpack_full<kStride, 4>, unpack_full<kStride, 5>, unpack_full<kStride, 6>,
                                      unpack_full<kStride, 7>};

// kStride: from one block of codes to the next.
template <size_t kStride>
void unpack(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  const int base = levels.bits[0] - 1;
  if (levels.num_levels == 1) return kUnpackPart<kStride>[base](levels, middle, num_superblocks, codes);
  if (levels.num_levels == 2 && levels.bits[0] + levels.bits[1] == 8) {  // full-bit: there is no middle
    return kUnpackFull<kStride>[base](levels, num_superblocks, codes);
  }
  for (size_t superblock = 0; superblock < num_superblocks; ++superblock) {
    unpack_superblock<kStride>(levels, middle, superblock, codes + superblock * kBlocksPerSuperblock * kStride);
  }
}

}  // namespace

void NQ_UNPACK_FUNCTION(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  unpack<kLineBytes>(levels, middle, num_superblocks, codes);
}

#if defined(NQ_UNPACK_INTERLEAVED_FUNCTION)
void NQ_UNPACK_INTERLEAVED_FUNCTION(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks,
                                    int8_t* codes) {
  unpack<kInterleavedStride>(levels, middle, num_superblocks, codes);
}
#endif

}  // namespace nq
