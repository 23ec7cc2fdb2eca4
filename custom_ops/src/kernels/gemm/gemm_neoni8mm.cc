// The 8-bit matrix multiply: 2 rows by 8 of the depth times 2 channels by as many. Blocks of codes are zipped in pairs
// as they are unpacked, which brings 8 of a channel's depth together; two rows' activations are zipped as they are
// loaded. Up to 4 rows by 16 channels are 16 accumulators of 2 rows by 2 channels.
#if defined(__ARM_FEATURE_MATMUL_INT8)
#include "kernels/cpu.h"
#include "kernels/gemm/gemm_neon.h"

namespace nq {

void unpack_neon(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
extern const GemmKernel gemm_neoni8mm;

namespace {

constexpr uint32_t kPairDepth = 2 * kDepthPerBlock;
constexpr int kPairBytes = 2 * kLineBytes;

inline int8x16_t zip_low(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip1q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

inline int8x16_t zip_high(int8x16_t a, int8x16_t b) {
  return vreinterpretq_s8_s64(vzip2q_s64(vreinterpretq_s64_s8(a), vreinterpretq_s64_s8(b)));
}

void unpack(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes) {
  unpack_neon(levels, middle, num_superblocks, codes);
  for (const int8_t* end = codes + num_superblocks * kSuperblockWeights; codes < end; codes += kPairBytes) {
    int32x4_t even[4], odd[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      even[v] = vreinterpretq_s32_s8(vld1q_s8(codes + v * 16));
      odd[v] = vreinterpretq_s32_s8(vld1q_s8(codes + kLineBytes + v * 16));
    }
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) {
      vst1q_s8(codes + v * 32, vreinterpretq_s8_s32(vzip1q_s32(even[v], odd[v])));
      vst1q_s8(codes + v * 32 + 16, vreinterpretq_s8_s32(vzip2q_s32(even[v], odd[v])));
    }
  }
}

struct MatrixProducts {
  static constexpr int kRows = 4, kVectors = 4;
  static constexpr uint32_t kTogether = kPairDepth;

  // The last of an odd number of rows is its own second.
  template <int kNumRows, int kNumVectors>
  struct Accumulators {
    static constexpr int kPairs = (kNumRows + 1) / 2;

    [[gnu::always_inline]] explicit Accumulators(const int32_t* bias) {
#pragma GCC unroll 2
      for (int p = 0; p < kPairs; ++p) {
        asm volatile("" : "+r"(bias));  // loaded anew: copies would take a vector pipe
#pragma GCC unroll 8
        for (int v = 0; v < 2 * kNumVectors; ++v) {
          of[p][v] = vreinterpretq_s32_s64(vld1q_dup_s64(reinterpret_cast<const int64_t*>(bias + 2 * v)));
        }
      }
    }

    // Moves `codes` on, as gemm_neondotprod does.
    [[gnu::always_inline]] void add_pair(const int8_t*& codes, const int8x16_t (&rows)[kPairs]) {
#pragma GCC unroll 2
      for (int half = 0; half < kNumVectors / 2; ++half) {
        asm volatile("" : "+r"(codes));
        const int8x16x4_t weights = vld1q_s8_x4(codes);
        codes += kPairBytes / (kNumVectors / 2);
#pragma GCC unroll 2
        for (int p = 0; p < kPairs; ++p) {
#pragma GCC unroll 4
          for (int v = 0; v < 4; ++v) {
            of[p][4 * half + v] = vmmlaq_s32(of[p][4 * half + v], rows[p], weights.val[v]);
          }
        }
      }
    }

    [[gnu::always_inline]] static void zip(const int8x16_t (&activations)[kNumRows], int8x16_t (&low)[kPairs],
                                           int8x16_t (&high)[kPairs]) {
#pragma GCC unroll 2
      for (int p = 0; p < kPairs; ++p) {
        const int8x16_t first = activations[2 * p], second = activations[2 * p + 1 < kNumRows ? 2 * p + 1 : 2 * p];
        low[p] = zip_low(first, second);
        high[p] = zip_high(first, second);
      }
    }

    [[gnu::always_inline]] void add(const int8_t* codes, const RowPointers<kNumRows>& rows, uint32_t depth) {
      int8x16_t activations[kNumRows], low[kPairs], high[kPairs];
      const uint32_t whole = depth / kStep * kStep;
      uint32_t at = 0;
      for (; at < whole; at += kStep) {
        rows.load(at, activations);
        zip(activations, low, high);
        add_pair(codes, low);
        add_pair(codes, high);
      }
      if ((depth & 8) != 0) {
        rows.load_eight(at, activations);
        zip(activations, low, high);
        add_pair(codes, low);
        at += 8;
      }
      if ((depth & 4) != 0) {  // times whatever lies behind the last four codes, zeros
        rows.load_four(at, activations);
        zip(activations, low, high);
        add_pair(codes, low);
      }
    }

    [[gnu::always_inline]] Sums<kNumRows, kNumVectors> sums() const {
      Sums<kNumRows, kNumVectors> sums;
#pragma GCC unroll 4
      for (int r = 0; r < kNumRows; ++r) {
#pragma GCC unroll 4
        for (int v = 0; v < kNumVectors; ++v) {
          const int8x16_t first = vreinterpretq_s8_s32(of[r / 2][2 * v]);
          const int8x16_t second = vreinterpretq_s8_s32(of[r / 2][2 * v + 1]);
          sums.of[r][v] = vreinterpretq_s32_s8(r % 2 == 0 ? zip_low(first, second) : zip_high(first, second));
        }
      }
      return sums;
    }

    int32x4_t of[kPairs][2 * kNumVectors];
  };
};

}  // namespace

constexpr GemmKernel gemm_neoni8mm = [] {
  GemmKernel kernel;
  kernel.isa = "neoni8mm";
  kernel.supported = has_neoni8mm;
  kernel.rows = 2 * MatrixProducts::kRows;
  kernel.activations.gathers = true;
  kernel.activations.piece_step = kPairDepth;
  kernel.codes.unpack = unpack;
  kernel.codes.fetches_ahead = false;
  kernel.multiply = multiply<MatrixProducts>;
  kernel.multiply_float = multiply_float<MatrixProducts>;
  kernel.sums.accumulate = accumulate<MatrixProducts>;
  kernel.sums.requantize = requantize;
  kernel.sums.dequantize = dequantize;
  return kernel;
}();

}  // namespace nq
#endif
