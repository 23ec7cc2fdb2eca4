#if defined(__AVX2__)
#include <immintrin.h>

#include "kernels/elementwise/elementwise_loops.h"

namespace nq {

extern const ElementwiseKernel elementwise_avx2;

namespace {

constexpr size_t kStep = 16;

struct Codes {
  __m256 high;
  __m256i zero_point;  // int16
  __m128i low;

  Codes(int32_t zero, int8_t low, int8_t high)
      : high(_mm256_set1_ps(static_cast<float>(high - zero))),
        zero_point(_mm256_set1_epi16(static_cast<int16_t>(zero))),
        low(_mm_set1_epi8(low)) {}

  // What is not a number becomes `high`. Not clamped below: a conversion that overflows to the least int32 saturates to
  // `low` in the packs.
  __m256i round(__m256 values) const { return _mm256_cvtps_epi32(_mm256_min_ps(values, high)); }

  void store(__m256 first, __m256 second, int8_t* out) const {
    const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(round(first), round(second)), 0xD8);
    const __m256i moved = _mm256_adds_epi16(words, zero_point);
    const __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(moved), _mm256_extracti128_si256(moved, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out), _mm_max_epi8(codes, low));
  }
};

// Exact, as are the products of two.
inline __m256 centred(const int8_t* codes, __m256i zero) {
  const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes));
  return _mm256_cvtepi32_ps(_mm256_sub_epi32(_mm256_cvtepi8_epi32(eight), zero));
}

void multiply(const MultiplicationTerms& t, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Codes codes(t.zero_point, t.low, t.high);
  const __m256i zero_a = _mm256_set1_epi32(t.zero_a), zero_b = _mm256_set1_epi32(t.zero_b);
  const __m256 scale = _mm256_set1_ps(t.scale);
  const auto product = [&](size_t i) {
    return _mm256_mul_ps(_mm256_mul_ps(centred(a + i, zero_a), centred(b + i, zero_b)), scale);
  };
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) codes.store(product(i), product(i + kStep / 2), out + i);
  for (; i < count; ++i) out[i] = multiply_codes(t, a[i], b[i]);
}

void multiply_by(const MultiplicationTerms& t, const int8_t* a, int8_t b, size_t count, int8_t* out) {
  const Codes codes(t.zero_point, t.low, t.high);
  const __m256i zero_a = _mm256_set1_epi32(t.zero_a);
  const __m256 factor = _mm256_set1_ps(static_cast<float>(b - t.zero_b)), scale = _mm256_set1_ps(t.scale);
  const auto product = [&](size_t i) { return _mm256_mul_ps(_mm256_mul_ps(centred(a + i, zero_a), factor), scale); };
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) codes.store(product(i), product(i + kStep / 2), out + i);
  for (; i < count; ++i) out[i] = multiply_codes(t, a[i], b);
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const Codes codes(zero_point, -128, 127);
  const __m256 inverse = _mm256_set1_ps(inverse_scale);
  const auto scaled = [&](size_t i) { return _mm256_mul_ps(_mm256_loadu_ps(in + i), inverse); };
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) codes.store(scaled(i), scaled(i + kStep / 2), out + i);
  for (; i < count; ++i) out[i] = quantize_float(in[i], inverse_scale, zero_point);
}

void look_up(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = look_up_code(table, in[i]);
}

}  // namespace

constexpr ElementwiseKernel elementwise_avx2 = elementwise_kernel("avx2", has_avx2fma);

}  // namespace nq
#endif
