// The loops of 64-bit Arm, compiled once for each of its ISAs; textual, as elementwise_loops.h is.
#include "kernels/elementwise/elementwise_loops.h"
#include "kernels/requantize/requantize_neon.h"

namespace nq {
namespace {

constexpr size_t kStep = 8, kLookUpStep = 16;

// Eight codes of values, those that are not numbers being large.
inline int8x8_t codes_of(const Requantizer& requantizer, float32x4_t first, float32x4_t second) {
  const float32x4_t large = vdupq_n_f32(32767.0f);
  return requantizer.codes_of(vminnmq_f32(first, large), vminnmq_f32(second, large));
}

struct EightFloats {
  float32x4_t first, second;
};

// Exact, as are the products of two.
inline EightFloats centred(const int8_t* codes, int16x8_t zero) {
  const int16x8_t words = vsubq_s16(vmovl_s8(vld1_s8(codes)), zero);
  return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), vcvtq_f32_s32(vmovl_high_s16(words))};
}

inline int16x8_t words_of(int32_t zero_point) { return vdupq_n_s16(static_cast<int16_t>(zero_point)); }

void multiply(const MultiplicationTerms& t, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Requantizer requantizer = make_requantizer(t.zero_point, t.low, t.high);
  const int16x8_t zero_a = words_of(t.zero_a), zero_b = words_of(t.zero_b);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const EightFloats of_a = centred(a + i, zero_a), of_b = centred(b + i, zero_b);
    vst1_s8(out + i, codes_of(requantizer, vmulq_n_f32(vmulq_f32(of_a.first, of_b.first), t.scale),
                              vmulq_n_f32(vmulq_f32(of_a.second, of_b.second), t.scale)));
  }
  for (; i < count; ++i) out[i] = multiply_codes(t, a[i], b[i]);
}

void multiply_by(const MultiplicationTerms& t, const int8_t* a, int8_t b, size_t count, int8_t* out) {
  const Requantizer requantizer = make_requantizer(t.zero_point, t.low, t.high);
  const int16x8_t zero_a = words_of(t.zero_a);
  const auto factor = static_cast<float>(b - t.zero_b);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const EightFloats of_a = centred(a + i, zero_a);
    vst1_s8(out + i, codes_of(requantizer, vmulq_n_f32(vmulq_n_f32(of_a.first, factor), t.scale),
                              vmulq_n_f32(vmulq_n_f32(of_a.second, factor), t.scale)));
  }
  for (; i < count; ++i) out[i] = multiply_codes(t, a[i], b);
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const Requantizer requantizer = make_requantizer(zero_point, -128, 127);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    vst1_s8(out + i, codes_of(requantizer, vmulq_n_f32(vld1q_f32(in + i), inverse_scale),
                              vmulq_n_f32(vld1q_f32(in + i + 4), inverse_scale)));
  }
  for (; i < count; ++i) out[i] = quantize_float(in[i], inverse_scale, zero_point);
}

// A table instruction reads 64 entries and leaves alone what lies beyond them.
void look_up(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  const int8x16x4_t quarters[] = {vld1q_s8_x4(table), vld1q_s8_x4(table + 64), vld1q_s8_x4(table + 128),
                                  vld1q_s8_x4(table + 192)};
  const uint8x16_t sign = vdupq_n_u8(0x80), quarter = vdupq_n_u8(64);
  size_t i = 0;
  for (; i + kLookUpStep <= count; i += kLookUpStep) {
    uint8x16_t entry = veorq_u8(vreinterpretq_u8_s8(vld1q_s8(in + i)), sign);
    int8x16_t found = vqtbl4q_s8(quarters[0], entry);
#pragma GCC unroll 3
    for (int k = 1; k < 4; ++k) {
      entry = vsubq_u8(entry, quarter);
      found = vqtbx4q_s8(found, quarters[k], entry);
    }
    vst1q_s8(out + i, found);
  }
  for (; i < count; ++i) out[i] = look_up_code(table, in[i]);
}

}  // namespace
}  // namespace nq
