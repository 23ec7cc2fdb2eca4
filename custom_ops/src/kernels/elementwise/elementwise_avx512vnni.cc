#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "kernels/elementwise/elementwise_loops.h"
#include "kernels/requantize/requantize_avx512.h"

namespace nq {

extern const ElementwiseKernel elementwise_avx512vnni;

namespace {

constexpr size_t kStep = 64, kLookUpStep = 32;

// 64 values that are scaled in vectors of 16, as codes.
template <typename Scaled>
inline __m512i codes_of(const Requantizer& requantizer, const Scaled& scaled) {
  __m512i sums[4];
#pragma GCC unroll 4
  for (size_t v = 0; v < 4; ++v) {
    // What is not a number becomes the second operand.
    sums[v] = _mm512_cvt_roundps_epi32(_mm512_min_ps(scaled(v * 16), requantizer.high),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  const __m512i codes = pack_codes(requantizer, sums[0], sums[1], sums[2], sums[3]);
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), codes);
}

// Exact, as are the products of two.
inline __m512 centred(const int8_t* codes, __m512i zero) {
  const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes));
  return _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_cvtepi8_epi32(sixteen), zero));
}

Requantizer requantizer_to(int32_t zero_point, int8_t low, int8_t high) {
  return make_requantizer({nullptr, zero_point, low, high});
}

// What is behind the last whole step, in room for one.
struct Tail {
  Tail(const int8_t* in, size_t count) : mask((__mmask64{1} << count) - 1) {
    _mm512_store_si512(codes, _mm512_maskz_loadu_epi8(mask, in));
  }

  __mmask64 mask;
  alignas(64) int8_t codes[kStep];
};

void multiply(const MultiplicationTerms& t, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Requantizer requantizer = requantizer_to(t.zero_point, t.low, t.high);
  const __m512i zero_a = _mm512_set1_epi32(t.zero_a), zero_b = _mm512_set1_epi32(t.zero_b);
  const __m512 scale = _mm512_set1_ps(t.scale);
  const auto products = [&](const int8_t* some_a, const int8_t* some_b) {
    return codes_of(requantizer, [&](size_t at) {
      return _mm512_mul_ps(_mm512_mul_ps(centred(some_a + at, zero_a), centred(some_b + at, zero_b)), scale);
    });
  };
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) _mm512_storeu_si512(out + i, products(a + i, b + i));
  if (i == count) return;
  const Tail last_a(a + i, count - i), last_b(b + i, count - i);
  _mm512_mask_storeu_epi8(out + i, last_a.mask, products(last_a.codes, last_b.codes));
}

void multiply_by(const MultiplicationTerms& t, const int8_t* a, int8_t b, size_t count, int8_t* out) {
  const Requantizer requantizer = requantizer_to(t.zero_point, t.low, t.high);
  const __m512i zero_a = _mm512_set1_epi32(t.zero_a);
  const __m512 factor = _mm512_set1_ps(static_cast<float>(b - t.zero_b)), scale = _mm512_set1_ps(t.scale);
  const auto products = [&](const int8_t* some) {
    return codes_of(requantizer,
                    [&](size_t at) { return _mm512_mul_ps(_mm512_mul_ps(centred(some + at, zero_a), factor), scale); });
  };
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) _mm512_storeu_si512(out + i, products(a + i));
  if (i == count) return;
  const Tail last(a + i, count - i);
  _mm512_mask_storeu_epi8(out + i, last.mask, products(last.codes));
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  const Requantizer requantizer = requantizer_to(zero_point, -128, 127);
  const __m512 inverse = _mm512_set1_ps(inverse_scale);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m512i codes =
        codes_of(requantizer, [&](size_t at) { return _mm512_mul_ps(_mm512_loadu_ps(in + i + at), inverse); });
    _mm512_storeu_si512(out + i, codes);
  }
  for (; i < count; ++i) out[i] = quantize_float(in[i], inverse_scale, zero_point);
}

// A table of 256 bytes as 128 words in four registers, of which an instruction looks up in two.
struct Words {
  __m512i of[4];

  // Of 32 bytes, one in each word, the table's entries.
  [[gnu::always_inline]] __m512i operator[](__m512i bytes) const {
    const __m512i word = _mm512_srli_epi16(bytes, 1);
    const __m512i low = _mm512_permutex2var_epi16(of[0], word, of[1]);
    const __m512i high = _mm512_permutex2var_epi16(of[2], word, of[3]);
    const __mmask32 upper_half = _mm512_test_epi16_mask(bytes, _mm512_set1_epi16(128));
    const __m512i pair = _mm512_mask_blend_epi16(upper_half, low, high);
    const __m512i odd = _mm512_slli_epi16(_mm512_and_si512(bytes, _mm512_set1_epi16(1)), 3);  // 8, or 0
    return _mm512_srlv_epi16(pair, odd);
  }
};

void look_up(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  Words words;
  for (int i = 0; i < 4; ++i) words.of[i] = _mm512_loadu_si512(table + i * 64);
  const __m256i sign = _mm256_set1_epi8(static_cast<char>(0x80));
  const auto look_up_all = [&](__m256i codes) {
    return _mm512_cvtepi16_epi8(words[_mm512_cvtepu8_epi16(_mm256_xor_si256(codes, sign))]);
  };
  size_t i = 0;
  for (; i + kLookUpStep <= count; i += kLookUpStep) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + i));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i), look_up_all(codes));
  }
  if (i == count) return;
  const auto mask = static_cast<__mmask32>((uint64_t{1} << (count - i)) - 1);
  const __m256i codes = _mm256_maskz_loadu_epi8(mask, in + i);
  _mm256_mask_storeu_epi8(out + i, mask, look_up_all(codes));
}

}  // namespace

constexpr ElementwiseKernel elementwise_avx512vnni = elementwise_kernel("avx512vnni", has_avx512vnni);

}  // namespace nq
#endif
