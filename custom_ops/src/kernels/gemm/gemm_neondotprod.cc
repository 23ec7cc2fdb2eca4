// Up to 4 rows by 16 channels are 16 accumulators; a line of codes, 16 channels by 4 of the depth, is one load, and a
// row of output one store. A lane of a row's 16 activations multiplies a vector of weights as it lies.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/cpu.h"
#include "kernels/gemm/gemm_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neondotprod;

namespace {

struct DotProducts {
  static constexpr int kRows = 4, kVectors = 4;
  static constexpr uint32_t kTogether = kDepthPerBlock;

  template <int kNumRows, int kNumVectors>
  struct Accumulators {
    // Loaded for each row anew: copies would take a vector pipe, and dot products fill those.
    [[gnu::always_inline]] explicit Accumulators(const int32_t* bias) {
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
        asm volatile("" : "+r"(bias));
#pragma GCC unroll 4
        for (int v = 0; v < kNumVectors; ++v) all.of[r][v] = vld1q_s32(bias + v * kVectorChannels);
      }
    }

    // Moves `codes` on. Clang would compute the addresses of several lines from one pointer, where a load moves it for
    // nothing.
    template <int kLane>
    [[gnu::always_inline]] void add_block(const int8_t*& codes, const int8x16_t (&activations)[kNumRows]) {
      asm volatile("" : "+r"(codes));
      int8x16_t weights[kNumVectors];
      if constexpr (kNumVectors == 4) {
        const int8x16x4_t line = vld1q_s8_x4(codes);
        for (int v = 0; v < 4; ++v) weights[v] = line.val[v];
      } else {
        for (int v = 0; v < kNumVectors; ++v) weights[v] = vld1q_s8(codes + v * 16);
      }
      codes += kLineBytes;
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kNumVectors; ++v) {
          all.of[r][v] = vdotq_laneq_s32(all.of[r][v], weights[v], activations[r], kLane);
        }
      }
    }

    [[gnu::always_inline]] void add(const int8_t* codes, const RowPointers<kNumRows>& rows, uint32_t depth) {
      int8x16_t activations[kNumRows];
      const uint32_t whole = depth / kStep * kStep;
      uint32_t at = 0;
      for (; at < whole; at += kStep) {
        rows.load(at, activations);
        add_block<0>(codes, activations);
        add_block<1>(codes, activations);
        add_block<2>(codes, activations);
        add_block<3>(codes, activations);
      }
      if ((depth & 8) != 0) {
        rows.load_eight(at, activations);
        add_block<0>(codes, activations);
        add_block<1>(codes, activations);
        at += 8;
      }
      if ((depth & 4) != 0) {
        rows.load_four(at, activations);
        add_block<0>(codes, activations);
      }
    }

    [[gnu::always_inline]] const Sums<kNumRows, kNumVectors>& sums() const { return all; }

    Sums<kNumRows, kNumVectors> all;
  };
};

}  // namespace

constexpr GemmKernel gemm_neondotprod = [] {
  GemmKernel kernel;
  kernel.isa = "neondotprod";
  kernel.supported = has_neondotprod;
  kernel.rows = 2 * DotProducts::kRows;
  kernel.activations.gathers = true;
  kernel.codes.unpack = unpack_neon;
  kernel.codes.fetches_ahead = false;
  kernel.multiply = multiply<DotProducts>;
  kernel.multiply_float = multiply_float<DotProducts>;
  kernel.sums.accumulate = accumulate<DotProducts>;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
#endif
