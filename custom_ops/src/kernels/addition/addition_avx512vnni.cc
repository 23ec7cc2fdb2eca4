#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_avx512vnni;

namespace {

constexpr int kLanes = 16;
constexpr size_t kStep = 64;

// Copied from AdditionTerms into registers, because codes that are stored could be anything to the compiler, terms too.
struct Terms {
  explicit Terms(const AdditionTerms& terms)
      : multiplier_a(_mm512_set1_epi32(terms.multiplier_a)),
        multiplier_b(_mm512_set1_epi32(terms.multiplier_b)),
        bias(_mm512_set1_epi32(terms.bias)),
        zero_point(_mm512_set1_epi16(static_cast<int16_t>(terms.zero_point))),
        low(_mm512_set1_epi8(terms.low)),
        high(_mm512_set1_epi8(terms.high)),
        shift(_mm_cvtsi32_si128(terms.shift)) {}

  __m512i multiplier_a, multiplier_b, bias;
  __m512i zero_point, low, high;  // int16, int8, int8
  __m128i shift;
};

inline __m512i add_sixteen(const Terms& terms, __m128i a, __m128i b) {
  const __m512i from_a = _mm512_mullo_epi32(_mm512_cvtepi8_epi32(a), terms.multiplier_a);
  const __m512i from_b = _mm512_mullo_epi32(_mm512_cvtepi8_epi32(b), terms.multiplier_b);
  return _mm512_sra_epi32(_mm512_add_epi32(_mm512_add_epi32(from_a, from_b), terms.bias), terms.shift);
}

inline __m128i load(const int8_t* codes) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)); }

// 64 codes; the packs leave each vector's in another order, which the permutation undoes.
inline __m512i add_all(const Terms& terms, const int8_t* a, const int8_t* b) {
  __m512i sums[kStep / kLanes];
#pragma GCC unroll 4
  for (int v = 0; v < 4; ++v) sums[v] = add_sixteen(terms, load(a + v * kLanes), load(b + v * kLanes));
  const __m512i low = _mm512_adds_epi16(_mm512_packs_epi32(sums[0], sums[1]), terms.zero_point);
  const __m512i high = _mm512_adds_epi16(_mm512_packs_epi32(sums[2], sums[3]), terms.zero_point);
  const __m512i clamped = _mm512_min_epi8(_mm512_max_epi8(_mm512_packs_epi16(low, high), terms.low), terms.high);
  return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), clamped);
}

void add(const AdditionTerms& of_layer, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Terms terms(of_layer);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) _mm512_storeu_si512(out + i, add_all(terms, a + i, b + i));
  if (i == count) return;
  alignas(64) int8_t last_a[kStep], last_b[kStep];
  const __mmask64 mask = (__mmask64{1} << (count - i)) - 1;
  _mm512_store_si512(last_a, _mm512_maskz_loadu_epi8(mask, a + i));
  _mm512_store_si512(last_b, _mm512_maskz_loadu_epi8(mask, b + i));
  _mm512_mask_storeu_epi8(out + i, mask, add_all(terms, last_a, last_b));
}

}  // namespace

constexpr AdditionKernel addition_avx512vnni = [] {
  AdditionKernel kernel;
  kernel.isa = "avx512vnni";
  kernel.supported = has_avx512vnni;
  kernel.add = add;
  return kernel;
}();

}  // namespace nq
#endif
