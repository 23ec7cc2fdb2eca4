#if defined(__ARM_NEON)
#include <arm_neon.h>

#include "kernels/addition/add_scalar.h"
#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_neon;

namespace {

constexpr size_t kStep = 16;
constexpr int kHalf = 16;  // bits of a sum

// Whether sums are shifted by half of their bits or more, which the narrowing of two does, and need no clamp.
bool is_plain(const AdditionTerms& terms) { return terms.shift >= kHalf && terms.low == -128 && terms.high == 127; }

// Copied from AdditionTerms into registers, because codes that are stored could be anything to the compiler, terms too.
struct Terms {
  explicit Terms(const AdditionTerms& terms)
      : multiplier_a(vdupq_n_s32(terms.multiplier_a)),
        multiplier_b(vdupq_n_s32(terms.multiplier_b)),
        bias(vdupq_n_s32(terms.bias)),
        right(vdupq_n_s32(-terms.shift)),
        right_of_half(vdupq_n_s16(static_cast<int16_t>(kHalf - terms.shift))),
        zero_point(vdupq_n_s16(static_cast<int16_t>(terms.zero_point))),
        low(vdupq_n_s8(terms.low)),
        high(vdupq_n_s8(terms.high)) {}

  int32x4_t products(int16x4_t a, int16x4_t b) const {
    int32x4_t sum = vmlaq_s32(vmulq_s32(vmovl_s16(a), multiplier_a), vmovl_s16(b), multiplier_b);
    asm("" : "+w"(sum));  // or Clang would copy the bias, to begin with it
    return sum;
  }

  template <bool kPlain>
  int16x8_t shifted(int32x4_t first, int32x4_t second) const {
    if constexpr (kPlain) {
#if defined(__aarch64__)
      const int16x8_t halves = vaddhn_high_s32(vaddhn_s32(first, bias), second, bias);
#else
      const int16x8_t halves = vcombine_s16(vaddhn_s32(first, bias), vaddhn_s32(second, bias));
#endif
      return vshlq_s16(halves, right_of_half);
    }
    return vcombine_s16(vqmovn_s32(vshlq_s32(vaddq_s32(first, bias), right)),
                        vqmovn_s32(vshlq_s32(vaddq_s32(second, bias), right)));
  }

  template <bool kPlain>
  int8x8_t add_eight(int8x8_t a, int8x8_t b) const {
    const int16x8_t wide_a = vmovl_s8(a), wide_b = vmovl_s8(b);
    const int32x4_t first = products(vget_low_s16(wide_a), vget_low_s16(wide_b));
    const int32x4_t second = products(vget_high_s16(wide_a), vget_high_s16(wide_b));
    return vqmovn_s16(vqaddq_s16(shifted<kPlain>(first, second), zero_point));
  }

  template <bool kPlain>
  int8x16_t add(const int8_t* a, const int8_t* b) const {
    const int8x16_t from_a = vld1q_s8(a), from_b = vld1q_s8(b);
    const int8x16_t codes = vcombine_s8(add_eight<kPlain>(vget_low_s8(from_a), vget_low_s8(from_b)),
                                        add_eight<kPlain>(vget_high_s8(from_a), vget_high_s8(from_b)));
    return kPlain ? codes : vminq_s8(vmaxq_s8(codes, low), high);
  }

  int32x4_t multiplier_a, multiplier_b, bias, right;
  int16x8_t right_of_half, zero_point;
  int8x16_t low, high;
};

template <bool kPlain>
void add_vectors(const AdditionTerms& of_layer, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Terms terms(of_layer);
  size_t i = 0;
  for (; i + 2 * kStep <= count; i += 2 * kStep) {
    const int8x16_t first = terms.add<kPlain>(a + i, b + i);
    const int8x16_t second = terms.add<kPlain>(a + i + kStep, b + i + kStep);
    vst1q_s8(out + i, first);
    vst1q_s8(out + i + kStep, second);
  }
  if (i + kStep <= count) {
    vst1q_s8(out + i, terms.add<kPlain>(a + i, b + i));
    i += kStep;
  }
  for (; i < count; ++i) out[i] = add_scalar(of_layer, a[i], b[i]);
}

void add(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const auto add_all = is_plain(terms) ? add_vectors<true> : add_vectors<false>;
  add_all(terms, a, b, count, out);
}

}  // namespace

constexpr AdditionKernel addition_neon = [] {
  AdditionKernel kernel;
  kernel.isa = "neon";
  kernel.supported = has_neon;
  kernel.add = add;
  return kernel;
}();

}  // namespace nq
#endif
