// What the matrix kernels with NEON share: the walk over a tile's rows and channels, and from its sums to rows of
// output. Textual for files with NEON flags: everything has internal linkage, as in unpack_words.h.
//
// A Multiplier has kRows and kVectors, of 4 channels, that its registers have room for, and kTogether, how many codes
// of a channel lie together. It sums some rows by some vectors:
//   template <int kNumRows, int kNumVectors> struct Accumulators {
//     explicit Accumulators(const int32_t* bias);
//     void add(const int8_t* codes, const RowPointers<kNumRows>& rows, uint32_t depth);
//     Sums<kNumRows, kNumVectors> sums() const;
//   };
#pragma once

#include "kernels/gemm/gemm.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {
namespace {

constexpr uint32_t kVectorChannels = 4;
constexpr uint32_t kStep = 16;  // activations in a vector

template <int kNumRows, int kNumVectors>
struct Sums {
  int32x4_t of[kNumRows][kNumVectors];
};

// A piece of some rows.
template <int kNumRows>
struct RowPointers {
  [[gnu::always_inline]] inline RowPointers(const int8_t* const* piece, uint32_t num_pieces) {
#pragma GCC unroll 4
    for (uint32_t r = 0; r < kNumRows; ++r) rows[r] = piece[r * num_pieces];
  }

  [[gnu::always_inline]] inline void load(uint32_t at, int8x16_t (&activations)[kNumRows]) const {
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) activations[r] = vld1q_s8(rows[r] + at);
  }

  // Eight, and zeros.
  [[gnu::always_inline]] inline void load_eight(uint32_t at, int8x16_t (&activations)[kNumRows]) const {
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) activations[r] = vcombine_s8(vld1_s8(rows[r] + at), vdup_n_s8(0));
  }

  // Four, and zeros.
  [[gnu::always_inline]] inline void load_four(uint32_t at, int8x16_t (&activations)[kNumRows]) const {
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
      int32_t four;
      std::memcpy(&four, rows[r] + at, sizeof(four));
      activations[r] = vreinterpretq_s8_s32(vsetq_lane_s32(four, vdupq_n_s32(0), 0));
    }
  }

  const int8_t* rows[kNumRows];
};

// The first channel's.
template <typename Multiplier>
inline const int8_t* codes_from(const GemmTile& tile, uint32_t channel) {
  return tile.codes + channel / kMatrixChannels * tile.block_stride + channel % kMatrixChannels * Multiplier::kTogether;
}

// Some rows by some channels, of rows that lie in one piece or in any number. A single piece needs fewer registers.
template <typename Multiplier, int kNumRows, int kNumVectors, bool kOnePiece>
[[gnu::always_inline]] inline Sums<kNumRows, kNumVectors> sum_products(const GemmRows& rows,
                                                                       const int8_t* const* pieces, const int8_t* codes,
                                                                       const int32_t* bias) {
  typename Multiplier::template Accumulators<kNumRows, kNumVectors> accumulators(bias);
  if constexpr (kOnePiece) {
    accumulators.add(codes, RowPointers<kNumRows>(pieces, 1), rows.piece_depth);
  } else {
    for (uint32_t k = 0; k < rows.num_pieces; ++k, codes += size_t{rows.piece_depth} * kMatrixChannels) {
      accumulators.add(codes, RowPointers<kNumRows>(pieces + k, rows.num_pieces), rows.piece_depth);
    }
  }
  return accumulators.sums();
}

template <int kNumber>
struct Constant {
  static constexpr int kValue = kNumber;
};

// Calls function(Constant<vectors>(), first channel): half as many vectors for the last channels where these are
// enough.
template <int kVectors, typename Function>
[[gnu::always_inline]] inline void for_each_channels(uint32_t num_channels, const Function& function) {
  constexpr uint32_t kChannels = kVectors * kVectorChannels, kHalf = kVectors > 2 ? kChannels / 2 : 0;
  uint32_t c = 0;
  for (; c + kHalf < num_channels; c += kChannels) function(Constant<kVectors>(), c);
  if constexpr (kHalf > 0) {
    if (c < num_channels) function(Constant<kVectors / 2>(), c);
  }
}

// A lane of 64 bits, which compilers would otherwise move to another register first. On 32-bit Arm a lane has to be
// aligned.
inline void store_high(int8x16_t codes, int8_t* out) {
#if defined(__aarch64__)
  vst1q_lane_s64(reinterpret_cast<int64_t*>(out), vreinterpretq_s64_s8(codes), 1);
#else
  vst1_s8(out, vget_high_s8(codes));
#endif
}

// What makes codes of whole groups of rows.
struct CodeStore {
  using Terms = Requantization;

  CodeStore(const Requantization& requantization, size_t out_stride)
      : requantizer(make_requantizer(requantization)),
        plain(is_plain(requantization)),
        multiplier(requantization.multiplier),
        out_stride(out_stride) {}

  template <bool kPlain, int kNumRows, int kNumVectors>
  [[gnu::always_inline]] inline void store_rows(const Sums<kNumRows, kNumVectors>& sums, const float* multipliers,
                                                int8_t* out) const {
    const EightMultipliers low = load_multipliers(multipliers);
    if constexpr (kNumVectors == 4) {
      const EightMultipliers high = load_multipliers(multipliers + 8);
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r, out += out_stride) {
        const EightSums first = {sums.of[r][0], sums.of[r][1]}, second = {sums.of[r][2], sums.of[r][3]};
        vst1q_s8(out, codes_of<kPlain>(requantizer, first, low, second, high));
      }
    } else {
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; r += 2, out += 2 * out_stride) {
        const EightSums first = {sums.of[r][0], sums.of[r][1]}, second = {sums.of[r + 1][0], sums.of[r + 1][1]};
        const int8x16_t codes = codes_of<kPlain>(requantizer, first, low, second, low);
        vst1_s8(out, vget_low_s8(codes));
        store_high(codes, out + out_stride);
      }
    }
  }

  // Fewer channels than were multiplied. Not inlined, lest all sums lie in memory for its sake.
  template <int kNumRows, int kNumVectors>
  [[gnu::noinline]] void store_first(Sums<kNumRows, kNumVectors> sums, const float* multipliers, uint32_t count,
                                     int8_t* out) const {
    for (int r = 0; r < kNumRows; ++r, out += out_stride) {
      int8_t codes[kNumVectors * kVectorChannels];
      for (int v = 0; v < kNumVectors; v += 2) {
        store_channels(requantizer, {sums.of[r][v], sums.of[r][v + 1]},
                       load_multipliers(multipliers + v * kVectorChannels), 8, codes + v * kVectorChannels);
      }
      std::memcpy(out, codes, count);
    }
  }

  template <int kNumRows, int kNumVectors>
  [[gnu::always_inline]] inline void operator()(const Sums<kNumRows, kNumVectors>& sums, int, uint32_t channel,
                                                uint32_t count, int8_t* out) const {
    if (count < kNumVectors * kVectorChannels) {
      store_first(sums, multiplier + channel, count, out + channel);
    } else if (plain) {
      store_rows<true>(sums, multiplier + channel, out + channel);
    } else {
      store_rows<false>(sums, multiplier + channel, out + channel);
    }
  }

  Requantizer requantizer;
  bool plain;
  const float* multiplier;
  size_t out_stride;
};

#if defined(__aarch64__)

// What makes floats of whole groups of rows.
template <bool kClamps>
struct FloatStore {
  using Terms = Dequantization;

  FloatStore(const Dequantization& dequantization, size_t out_stride)
      : dequantizer(dequantization), out_stride(out_stride) {}

  template <int kNumRows, int kNumVectors>
  [[gnu::always_inline]] inline void store_rows(const Sums<kNumRows, kNumVectors>& sums, int row, uint32_t channel,
                                                float* out) const {
    OfRow of_rows[kNumRows];
    Dequantization of_row = dequantizer.of.from_row(static_cast<size_t>(row));
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r, of_row = of_row.from_row(1)) of_rows[r] = load_row(of_row);
#pragma GCC unroll 4
    for (uint32_t v = 0; v < kNumVectors; ++v) {
      const uint32_t c = channel + v * kVectorChannels;
      const OfFourChannels of_channels = dequantizer.channels(c);
#pragma GCC unroll 4
      for (size_t r = 0; r < kNumRows; ++r) {
        vst1q_f32(out + r * out_stride + c, dequantizer.value(sums.of[r][v], of_rows[r], of_channels));
      }
    }
  }

  // As CodeStore's.
  template <int kNumRows, int kNumVectors>
  [[gnu::noinline]] void store_first(Sums<kNumRows, kNumVectors> sums, int row, uint32_t channel, uint32_t count,
                                     float* out) const {
    for (int r = 0; r < kNumRows; ++r, out += out_stride) {
      const Dequantization of_row = dequantizer.of.from_row(static_cast<size_t>(row + r));
      for (uint32_t v = 0, c = channel; v < kNumVectors && v * kVectorChannels < count; v += 2, c += 8) {
        Dequantizer(of_row, c).store({sums.of[r][v], sums.of[r][v + 1]}, count - v * kVectorChannels, out + c);
      }
    }
  }

  template <int kNumRows, int kNumVectors>
  [[gnu::always_inline]] inline void operator()(const Sums<kNumRows, kNumVectors>& sums, int row, uint32_t channel,
                                                uint32_t count, float* out) const {
    if (count < kNumVectors * kVectorChannels) {
      store_first(sums, row, channel, count, out);
    } else {
      store_rows(sums, row, channel, out);
    }
  }

  AnyDequantizer<kClamps> dequantizer;
  size_t out_stride;
};

#endif

// As many rows as several of the Multiplier's. Makes its own Store: another's would come by way of memory.
template <typename Multiplier, bool kOnePiece, typename Store, typename Out>
void multiply_groups(const GemmTile& all, int num_rows, const typename Store::Terms& terms, Out* out, size_t out_stride,
                     uint32_t num_channels) {
  const GemmTile tile = all;  // which no store to `out` changes
  const Store store(terms, out_stride);
  for_each_channels<Multiplier::kVectors>(num_channels, [&](auto vectors, uint32_t c) __attribute__((always_inline)) {
    const int8_t* codes = codes_from<Multiplier>(tile, c);
    const int8_t* const* pieces = tile.rows.pieces;
    Out* rows = out;
    for (int row = 0; row < num_rows; row += Multiplier::kRows) {
      const auto sums = sum_products<Multiplier, Multiplier::kRows, decltype(vectors)::kValue, kOnePiece>(
          tile.rows, pieces, codes, tile.bias + c);
      store(sums, row, c, num_channels - c, rows);
      pieces += Multiplier::kRows * (kOnePiece ? 1 : tile.rows.num_pieces);
      rows += Multiplier::kRows * store.out_stride;
    }
  });
}

// Returns how many rows that were.
template <typename Multiplier, typename Store, typename Out>
inline int multiply_whole(const GemmTile& tile, const typename Store::Terms& terms, Out* out, size_t out_stride,
                          uint32_t num_channels) {
  const int whole = tile.rows.num_rows / Multiplier::kRows * Multiplier::kRows;
  if (whole > 0) {
    const auto multiply = tile.rows.num_pieces == 1 ? multiply_groups<Multiplier, true, Store, Out>
                                                    : multiply_groups<Multiplier, false, Store, Out>;
    multiply(tile, whole, terms, out, out_stride, num_channels);
  }
  return whole;
}

template <typename Multiplier, int kNumRows>
void accumulate_rows(const GemmTile& tile, int32_t* out) {
  const auto num_channels = static_cast<uint32_t>(tile.num_blocks * kMatrixChannels);
  constexpr uint32_t kChannels = Multiplier::kVectors * kVectorChannels;
  for (uint32_t c = 0; c < num_channels; c += kChannels) {
    const auto sums = sum_products<Multiplier, kNumRows, Multiplier::kVectors, false>(
        tile.rows, tile.rows.pieces, codes_from<Multiplier>(tile, c), tile.bias + c);
#pragma GCC unroll 4
    for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < Multiplier::kVectors; ++v) {
        vst1q_s32(out + r * kTileChannels + c + static_cast<uint32_t>(v) * kVectorChannels, sums.of[r][v]);
      }
    }
  }
}

// Calls the function for so many rows, fewer than kNumRows or as many.
template <typename Multiplier, int kNumRows = Multiplier::kRows>
void accumulate_few(const GemmTile& tile, int32_t* sums) {
  if constexpr (kNumRows > 1) {
    if (tile.rows.num_rows < kNumRows) return accumulate_few<Multiplier, kNumRows - 1>(tile, sums);
  }
  accumulate_rows<Multiplier, kNumRows>(tile, sums);
}

inline GemmTile from_row(const GemmTile& tile, int row, int most) {
  GemmTile rest = tile;
  rest.rows.pieces += static_cast<size_t>(row) * tile.rows.num_pieces;
  rest.rows.num_rows = tile.rows.num_rows - row < most ? tile.rows.num_rows - row : most;
  return rest;
}

template <typename Multiplier>
void accumulate(const GemmTile& tile, int32_t* sums) {
  for (int row = 0; row < tile.rows.num_rows; row += Multiplier::kRows) {
    accumulate_few<Multiplier>(from_row(tile, row, Multiplier::kRows), sums + row * kTileChannels);
  }
}

inline void requantize(const int32_t* sums, const Requantization& requantization, int8_t* out, uint32_t num_channels) {
  const Requantizer requantizer = make_requantizer(requantization);
  for (uint32_t c = 0; c < num_channels; c += 8) {
    const EightMultipliers multipliers = load_multipliers(requantization.multiplier + c);
    store_channels(requantizer, load_sums(sums + c), multipliers, num_channels - c, out + c);
  }
}

// Fewer rows than the Multiplier's.
template <typename Multiplier>
[[gnu::noinline]] void multiply_last(const GemmTile& tile, const Requantization& requantization, int8_t* out,
                                     size_t out_stride, uint32_t num_channels) {
  alignas(kLineBytes) int32_t sums[Multiplier::kRows * kTileChannels];
  accumulate_few<Multiplier>(tile, sums);
  for (int row = 0; row < tile.rows.num_rows; ++row, out += out_stride) {
    requantize(sums + row * kTileChannels, requantization, out, num_channels);
  }
}

template <typename Multiplier>
void multiply(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
              uint32_t num_channels) {
  const int whole = multiply_whole<Multiplier, CodeStore>(tile, requantization, out, out_stride, num_channels);
  const int last = tile.rows.num_rows - whole;
  if (last == 0) return;
  multiply_last<Multiplier>(from_row(tile, whole, last), requantization, out + static_cast<size_t>(whole) * out_stride,
                            out_stride, num_channels);
}

inline void dequantize(const int32_t* sums, int num_rows, const Dequantization& dequantization, float* out,
                       size_t out_stride, uint32_t num_channels) {
  for (uint32_t c = 0; c < num_channels; c += 8) {
    Dequantizer dequantizer(dequantization, c);
    for (int r = 0; r < num_rows; ++r) {
      if (r > 0 && dequantization.row_step > 0) {
        dequantizer = Dequantizer(dequantization.from_row(static_cast<size_t>(r)), c);
      }
      dequantizer.store(load_sums(sums + r * kTileChannels + c), num_channels - c, out + r * out_stride + c);
    }
  }
}

#if defined(__aarch64__)

template <typename Multiplier>
void multiply_float(const GemmTile& tile, const Dequantization& dequantization, float* out, size_t out_stride,
                    uint32_t num_channels) {
  const auto multiply_rows = clamps(dequantization) ? multiply_whole<Multiplier, FloatStore<true>, float>
                                                    : multiply_whole<Multiplier, FloatStore<false>, float>;
  const int whole = multiply_rows(tile, dequantization, out, out_stride, num_channels);
  const int last = tile.rows.num_rows - whole;
  if (last == 0) return;
  alignas(kLineBytes) int32_t sums[Multiplier::kRows * kTileChannels];
  accumulate_few<Multiplier>(from_row(tile, whole, last), sums);
  dequantize(sums, last, dequantization.from_row(static_cast<size_t>(whole)),
             out + static_cast<size_t>(whole) * out_stride, out_stride, num_channels);
}

#endif

}  // namespace
}  // namespace nq
