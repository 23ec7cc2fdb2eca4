#if defined(__AVX2__)
#include <immintrin.h>

#include "kernels/addition/add_scalar.h"
#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_avx2;

namespace {

constexpr size_t kStep = 16;

inline __m256i widen(const int8_t* codes) {
  return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes)));
}

inline __m256i add_eight(const AdditionTerms& terms, const int8_t* a, const int8_t* b) {
  const __m256i from_a = _mm256_mullo_epi32(widen(a), _mm256_set1_epi32(terms.multiplier_a));
  const __m256i from_b = _mm256_mullo_epi32(widen(b), _mm256_set1_epi32(terms.multiplier_b));
  const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(from_a, from_b), _mm256_set1_epi32(terms.bias));
  return _mm256_sra_epi32(sum, _mm_cvtsi32_si128(terms.shift));
}

void add(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(terms.zero_point));
  const __m128i low = _mm_set1_epi8(terms.low), high = _mm_set1_epi8(terms.high);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    __m256i words = _mm256_packs_epi32(add_eight(terms, a + i, b + i), add_eight(terms, a + i + 8, b + i + 8));
    words = _mm256_adds_epi16(_mm256_permute4x64_epi64(words, 0xD8), zero_point);
    __m128i codes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    codes = _mm_min_epi8(_mm_max_epi8(codes, low), high);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), codes);
  }
  for (; i < count; ++i) out[i] = add_scalar(terms, a[i], b[i]);
}

}  // namespace

constexpr AdditionKernel addition_avx2 = [] {
  AdditionKernel kernel;
  kernel.isa = "avx2";
  kernel.supported = has_avx2;
  kernel.add = add;
  return kernel;
}();

}  // namespace nq
#endif
