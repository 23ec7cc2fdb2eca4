// Without dot products: 8 weights, 2 channels by 4 of the depth as they lie, times 4 activations twice over are
// products of 16 bits, which are added to an accumulator in pairs. Two products are summed in 16 bits first, but where
// a weight is -128: -128 * -128 twice overflows there.
//
// Up to 4 rows by 8 channels are 16 accumulators, with 16 activations of each row; 32-bit Arm, with half the registers,
// has room for 2 rows.
#if defined(__ARM_NEON)
#include "kernels/gemm/gemm_neon.h"

#include "kernels/cpu.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neon;

namespace {

// Four activations in every lane.
template <int kLane>
inline int8x16_t broadcast(int8x16_t activations) {
  const int32x4_t fours = vreinterpretq_s32_s8(activations);
#if defined(__aarch64__)
  return vreinterpretq_s8_s32(vdupq_laneq_s32(fours, kLane));
#else
  return vreinterpretq_s8_s32(vdupq_lane_s32(kLane < 2 ? vget_low_s32(fours) : vget_high_s32(fours), kLane % 2));
#endif
}

inline int16x8_t multiply_high(int8x16_t a, int8x16_t b) {
#if defined(__aarch64__)
  return vmull_high_s8(a, b);
#else
  return vmull_s8(vget_high_s8(a), vget_high_s8(b));
#endif
}

inline int16x8_t multiply_add_high(int16x8_t sums, int8x16_t a, int8x16_t b) {
#if defined(__aarch64__)
  return vmlal_high_s8(sums, a, b);
#else
  return vmlal_s8(sums, vget_high_s8(a), vget_high_s8(b));
#endif
}

inline int32x4_t add_pairs(int32x4_t a, int32x4_t b) {
#if defined(__aarch64__)
  return vpaddq_s32(a, b);
#else
  return vcombine_s32(vpadd_s32(vget_low_s32(a), vget_high_s32(a)), vpadd_s32(vget_low_s32(b), vget_high_s32(b)));
#endif
}

inline void add_products(int16x8_t products, int32x4_t* sums) {
  int32x4_t added = vpadalq_s16(*sums, products);
  // GCC would put all products before the sums and then lack registers for either.
  asm volatile("" : "+w"(added));
  *sums = added;
}

template <bool kHasLeast>
struct Products {
#if defined(__aarch64__)
  static constexpr int kRows = 4;
#else
  static constexpr int kRows = 2;
#endif
  static constexpr int kVectors = 2;
  static constexpr uint32_t kTogether = kDepthPerBlock;

  // A vector has 2 channels, each with the sums of 2 pairs.
  template <int kNumRows, int kNumVectors>
  struct Accumulators {
    static constexpr int kPairs = 2 * kNumVectors;

    // The bias is in the first of each two.
    [[gnu::always_inline]] explicit Accumulators(const int32_t* bias) {
      for (int v = 0; v < kNumVectors; ++v) {
        const uint32x4_t four = vreinterpretq_u32_s32(vld1q_s32(bias + v * kVectorChannels));
        const int32x4_t low = vreinterpretq_s32_u64(vmovl_u32(vget_low_u32(four)));
        const int32x4_t high = vreinterpretq_s32_u64(vmovl_u32(vget_high_u32(four)));
#pragma GCC unroll 4
        for (int r = 0; r < kNumRows; ++r) of[r][2 * v] = low, of[r][2 * v + 1] = high;
      }
    }

    template <int kLane>
    [[gnu::always_inline]] void add_block(const int8_t* codes, const int8x16_t (&activations)[kNumRows]) {
      const int8x16_t weights[] = {vld1q_s8(codes), vld1q_s8(codes + 16)};
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
        const int8x16_t activation = broadcast<kLane>(activations[r]);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          add_products(vmull_s8(vget_low_s8(weights[v]), vget_low_s8(activation)), &of[r][2 * v]);
          add_products(multiply_high(weights[v], activation), &of[r][2 * v + 1]);
        }
      }
    }

    // This block and the next.
    template <int kLane>
    [[gnu::always_inline]] void add_two_blocks(const int8_t* codes, int8x16_t (&activations)[kNumRows]) {
      if constexpr (kHasLeast) {
        add_block<kLane>(codes, activations);
        add_block<kLane + 1>(codes + kLineBytes, activations);
        return;
      }
      const int8x16_t weights[] = {vld1q_s8(codes), vld1q_s8(codes + 16)};
      const int8x16_t next[] = {vld1q_s8(codes + kLineBytes), vld1q_s8(codes + kLineBytes + 16)};
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
        asm volatile("" : "+w"(activations[r]));  // Clang would put the products of all rows before their sums
        const int8x16_t a = broadcast<kLane>(activations[r]), b = broadcast<kLane + 1>(activations[r]);
#pragma GCC unroll 2
        for (int v = 0; v < 2; ++v) {
          const int16x8_t low = vmull_s8(vget_low_s8(weights[v]), vget_low_s8(a));
          const int16x8_t high = multiply_high(weights[v], a);
          add_products(vmlal_s8(low, vget_low_s8(next[v]), vget_low_s8(b)), &of[r][2 * v]);
          add_products(multiply_add_high(high, next[v], b), &of[r][2 * v + 1]);
        }
      }
    }

    [[gnu::always_inline]] void add(const int8_t* codes, const RowPointers<kNumRows>& rows, uint32_t depth) {
      int8x16_t activations[kNumRows];
      const uint32_t whole = depth / kStep * kStep;
      uint32_t at = 0;
      for (; at < whole; at += kStep, codes += kStep * kMatrixChannels) {
        rows.load(at, activations);
        add_two_blocks<0>(codes, activations);
        add_two_blocks<2>(codes + 2 * kLineBytes, activations);
      }
      if ((depth & 8) != 0) {
        rows.load_eight(at, activations);
        add_two_blocks<0>(codes, activations);
        at += 8, codes += 2 * kLineBytes;
      }
      if ((depth & 4) != 0) {
        rows.load_four(at, activations);
        add_block<0>(codes, activations);
      }
    }

    [[gnu::always_inline]] Sums<kNumRows, kNumVectors> sums() const {
      Sums<kNumRows, kNumVectors> sums;
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < kNumVectors; ++v) sums.of[r][v] = add_pairs(of[r][2 * v], of[r][2 * v + 1]);
      }
      return sums;
    }

    int32x4_t of[kNumRows][kPairs];
  };
};

void multiply_codes(const GemmTile& tile, const Requantization& requantization, int8_t* out, size_t out_stride,
                    uint32_t num_channels) {
  const auto multiply_tile = tile.least == -128 ? multiply<Products<true>> : multiply<Products<false>>;
  multiply_tile(tile, requantization, out, out_stride, num_channels);
}

#if defined(__aarch64__)
void multiply_floats(const GemmTile& tile, const Dequantization& dequantization, float* out, size_t out_stride,
                     uint32_t num_channels) {
  const auto multiply_tile = tile.least == -128 ? multiply_float<Products<true>> : multiply_float<Products<false>>;
  multiply_tile(tile, dequantization, out, out_stride, num_channels);
}
#endif

void accumulate_codes(const GemmTile& tile, int32_t* sums) {
  const auto accumulate_tile = tile.least == -128 ? accumulate<Products<true>> : accumulate<Products<false>>;
  accumulate_tile(tile, sums);
}

}  // namespace

constexpr GemmKernel gemm_neon = [] {
  GemmKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.rows = 2 * Products<true>::kRows;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_neon;
  kernel.codes.fetches_ahead = false;
  kernel.multiply = multiply_codes;
#if defined(__aarch64__)
  kernel.multiply_float = multiply_floats;
#endif
  kernel.sums.accumulate = accumulate_codes;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
#endif
