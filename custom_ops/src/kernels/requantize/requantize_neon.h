// Textual for files with NEON flags: everything has internal linkage, as in unpack_words.h.
#pragma once

#include <arm_neon.h>

#include <cstring>

#include "kernels/requantize/requantization.h"
#include "kernels/requantize/requantize_scalar.h"

namespace nq {
namespace {

// 1.5 * 2^23, added to a value of less than 2^22 in size, leaves the nearest integer, the even one of two, in the lower
// bits.
constexpr float kRounding = 12582912.0f;

// The nearest integers, the even one of two; beyond int16 the nearest int16.
inline int16x4_t round_to_words(float32x4_t values) {
#if defined(__aarch64__)
  return vqmovn_s32(vcvtnq_s32_f32(values));
#else
  values = vminq_f32(vmaxq_f32(values, vdupq_n_f32(-32768.0f)), vdupq_n_f32(32767.0f));
  return vmovn_s32(vreinterpretq_s32_f32(vaddq_f32(values, vdupq_n_f32(kRounding))));
#endif
}

// The same for values within int16.
inline int16x8_t round_within_words(float32x4_t first, float32x4_t second, float32x4_t rounding) {
  const int32x4_t low = vreinterpretq_s32_f32(vaddq_f32(first, rounding));
  const int32x4_t high = vreinterpretq_s32_f32(vaddq_f32(second, rounding));
#if defined(__ARM_FEATURE_DOTPROD)
  return vuzp1q_s16(vreinterpretq_s16_s32(low), vreinterpretq_s16_s32(high));
#else
  // Older CPUs take three operations for the other, and Clang would make it of two narrowings side by side.
  int16x4_t narrow = vmovn_s32(low);
  asm("" : "+w"(narrow));
  return vcombine_s16(narrow, vmovn_s32(high));
#endif
}

// The narrowing and the addition saturate, so that a clamp of the codes is one of the integers before them.
struct Requantizer {
  int16x8_t zero_point;
  int8x8_t low, high;
  float32x4_t rounding = vdupq_n_f32(kRounding);

  int8x8_t codes_of(float32x4_t first, float32x4_t second) const {
    const int16x8_t words = vqaddq_s16(vcombine_s16(round_to_words(first), round_to_words(second)), zero_point);
    return vmin_s8(vmax_s8(vqmovn_s16(words), low), high);
  }
};

inline Requantizer make_requantizer(int32_t zero_point, int8_t low, int8_t high) {
  return {vdupq_n_s16(static_cast<int16_t>(zero_point)), vdup_n_s8(low), vdup_n_s8(high)};
}

inline Requantizer make_requantizer(const Requantization& requantization) {
  return make_requantizer(requantization.zero_point, requantization.low, requantization.high);
}

// Whether codes are nothing but rounded and narrowed: what Requantizer saturates and clamps for cannot happen.
inline bool is_plain(const Requantization& requantization) {
  return requantization.fits_16 && requantization.low == -128 && requantization.high == 127;
}

// Of 8 channels.
struct EightSums {
  int32x4_t first, second;
};

inline EightSums load_sums(const int32_t* sums) { return {vld1q_s32(sums), vld1q_s32(sums + 4)}; }

inline void store_sums(const EightSums& sums, int32_t* out) {
  vst1q_s32(out, sums.first);
  vst1q_s32(out + 4, sums.second);
}

struct EightMultipliers {
  float32x4_t first, second;
};

inline EightMultipliers load_multipliers(const float* multiplier) {
  return {vld1q_f32(multiplier), vld1q_f32(multiplier + 4)};
}

inline float32x4_t scale_sums(int32x4_t sums, float32x4_t multipliers) {
  return vmulq_f32(vcvtq_f32_s32(sums), multipliers);
}

template <bool kPlain>
[[gnu::always_inline]] inline int8x8_t codes_of(const Requantizer& requantizer, const EightSums& sums,
                                                const EightMultipliers& multipliers) {
  const float32x4_t first = scale_sums(sums.first, multipliers.first);
  const float32x4_t second = scale_sums(sums.second, multipliers.second);
  if constexpr (!kPlain) return requantizer.codes_of(first, second);
  return vqmovn_s16(vqaddq_s16(round_within_words(first, second, requantizer.rounding), requantizer.zero_point));
}

// The codes of twice 8 sums.
template <bool kPlain>
[[gnu::always_inline]] inline int8x16_t codes_of(const Requantizer& requantizer, const EightSums& a,
                                                 const EightMultipliers& of_a, const EightSums& b,
                                                 const EightMultipliers& of_b) {
  return vcombine_s8(codes_of<kPlain>(requantizer, a, of_a), codes_of<kPlain>(requantizer, b, of_b));
}

// Requantizes 8 channels and stores the first `count` of them.
inline void store_channels(const Requantizer& requantizer, const EightSums& sums, const EightMultipliers& multipliers,
                           uint32_t count, int8_t* out) {
  const int8x8_t codes =
      requantizer.codes_of(scale_sums(sums.first, multipliers.first), scale_sums(sums.second, multipliers.second));
  if (count >= 8) {
    vst1_s8(out, codes);
  } else {
    std::memcpy(out, &codes, count);
  }
}

#if defined(__aarch64__)

// Selects, where the instructions for minima and maxima would change a zero's sign.
inline float32x4_t clamp_floats(float32x4_t value, float32x4_t low, float32x4_t high) {
  const float32x4_t raised = vbslq_f32(vcltq_f32(value, low), low, value);
  return vbslq_f32(vcgtq_f32(raised, high), high, raised);
}

// Of 4 channels in one row.
struct FourDequantizer {
  FourDequantizer(const Dequantization& of_row, uint32_t channel)
      : offset(vmulq_n_s32(vld1q_s32(of_row.weight_sum + channel), *of_row.zero_point)),
        scale(vmulq_n_f32(vld1q_f32(of_row.scale + channel), *of_row.row_scale)),
        bias(vld1q_f32(of_row.bias + channel)),
        low(vdupq_n_f32(of_row.low)),
        high(vdupq_n_f32(of_row.high)) {}

  float32x4_t values_of(int32x4_t sums) const {
    return clamp_floats(vaddq_f32(vmulq_f32(vcvtq_f32_s32(vsubq_s32(sums, offset)), scale), bias), low, high);
  }

  int32x4_t offset;
  float32x4_t scale, bias, low, high;
};

// What values of a row have in common, and those of 4 channels.
struct OfRow {
  int32x4_t zero_point;
  float32x4_t scale;
};

struct OfFourChannels {
  int32x4_t weight_sum;
  float32x4_t scale, bias;
};

[[gnu::always_inline]] inline OfRow load_row(const Dequantization& of_row) {
  return {vld1q_dup_s32(of_row.zero_point), vld1q_dup_f32(of_row.row_scale)};
}

// The same for any rows and channels, whose constants are loaded where they are used: kernels lack registers for more.
template <bool kClamps>
struct AnyDequantizer {
  explicit AnyDequantizer(const Dequantization& dequantization)
      : of(dequantization), low(vdupq_n_f32(dequantization.low)), high(vdupq_n_f32(dequantization.high)) {}

  [[gnu::always_inline]] OfFourChannels channels(uint32_t c) const {
    return {vld1q_s32(of.weight_sum + c), vld1q_f32(of.scale + c), vld1q_f32(of.bias + c)};
  }

  [[gnu::always_inline]] float32x4_t value(int32x4_t sums, const OfRow& row, const OfFourChannels& channels) const {
    const float32x4_t scale = vmulq_f32(channels.scale, row.scale);
    const float32x4_t sum = vcvtq_f32_s32(vmlsq_s32(sums, channels.weight_sum, row.zero_point));
    const float32x4_t value = vaddq_f32(vmulq_f32(sum, scale), channels.bias);
    return kClamps ? clamp_floats(value, low, high) : value;
  }

  Dequantization of;
  float32x4_t low, high;
};

inline bool clamps(const Dequantization& dequantization) {
  constexpr float kInfinity = __builtin_inff();
  return dequantization.low > -kInfinity || dequantization.high < kInfinity;
}

// Of 8 channels in one row.
struct Dequantizer {
  Dequantizer(const Dequantization& of_row, uint32_t channel) : first(of_row, channel), second(of_row, channel + 4) {}

  // Stores the first `count`.
  void store(const EightSums& sums, uint32_t count, float* out) const {
    const float32x4_t values[] = {first.values_of(sums.first), second.values_of(sums.second)};
    if (count >= 8) {
      vst1q_f32(out, values[0]);
      vst1q_f32(out + 4, values[1]);
    } else {
      std::memcpy(out, values, count * sizeof(float));
    }
  }

  FourDequantizer first, second;
};

#else

// 32-bit NEON flushes subnormal floats to zero, which the specification does not.
struct Dequantizer {
  Dequantizer(const Dequantization& of_row, uint32_t channel) : dequantization(of_row), channel(channel) {}

  void store(const EightSums& sums, uint32_t count, float* out) const {
    int32_t of_channels[8];
    store_sums(sums, of_channels);
    for (uint32_t c = 0; c < count && c < 8; ++c) {
      out[c] = dequantize_scalar(of_channels[c], dequantization, 0, channel + c);
    }
  }

  Dequantization dequantization;
  uint32_t channel;
};

#endif

}  // namespace
}  // namespace nq
