#if defined(__ARM_NEON)
#include <arm_neon.h>

#include "kernels/addition/add_scalar.h"
#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_neon;

namespace {

constexpr size_t kStep = 16;

struct Terms {
  explicit Terms(const AdditionTerms& terms)
      : multiplier_a(vdupq_n_s32(terms.multiplier_a)),
        multiplier_b(vdupq_n_s32(terms.multiplier_b)),
        bias(vdupq_n_s32(terms.bias)),
        right(vdupq_n_s32(-terms.shift)),
        zero_point(vdupq_n_s16(static_cast<int16_t>(terms.zero_point))) {}

  int16x4_t add(int16x4_t a, int16x4_t b) const {
    const int32x4_t sum = vmlaq_s32(vmlaq_s32(bias, vmovl_s16(a), multiplier_a), vmovl_s16(b), multiplier_b);
    return vqmovn_s32(vshlq_s32(sum, right));
  }

  int8x8_t add(int8x8_t a, int8x8_t b) const {
    const int16x8_t wide_a = vmovl_s8(a), wide_b = vmovl_s8(b);
    const int16x4_t low = add(vget_low_s16(wide_a), vget_low_s16(wide_b));
    const int16x4_t high = add(vget_high_s16(wide_a), vget_high_s16(wide_b));
    return vqmovn_s16(vqaddq_s16(vcombine_s16(low, high), zero_point));
  }

  int32x4_t multiplier_a, multiplier_b, bias, right;
  int16x8_t zero_point;
};

void add(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Terms vectors(terms);
  const int8x16_t low = vdupq_n_s8(terms.low), high = vdupq_n_s8(terms.high);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const int8x16_t from_a = vld1q_s8(a + i), from_b = vld1q_s8(b + i);
    const int8x16_t codes = vcombine_s8(vectors.add(vget_low_s8(from_a), vget_low_s8(from_b)),
                                        vectors.add(vget_high_s8(from_a), vget_high_s8(from_b)));
    vst1q_s8(out + i, vminq_s8(vmaxq_s8(codes, low), high));
  }
  for (; i < count; ++i) out[i] = add_scalar(terms, a[i], b[i]);
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
