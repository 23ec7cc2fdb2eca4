#if defined(__AVX512VNNI__)
#include <immintrin.h>

#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_avx512vnni;

namespace {

constexpr size_t kStep = 64;

// Multipliers are multiplied in two parts that fit in 16 bits, both operands at once.
constexpr int kLowBits = 13;
constexpr int32_t kLowMask = (1 << kLowBits) - 1;
static_assert(kLowBits <= kLeastAdditionShift);

inline __m512i factors(int32_t a, int32_t b) {
  return _mm512_set1_epi32(static_cast<int32_t>(static_cast<uint32_t>(b) << 16 | (static_cast<uint32_t>(a) & 0xFFFF)));
}

// Copied from AdditionTerms into registers, because codes that are stored could be anything to the compiler, terms too.
// Codes are taken as codes + 128, which are zero-extended more cheaply than codes are by their sign; the bias makes up
// for it, and stays within int32 because the sum does with every code at -128.
struct Terms {
  explicit Terms(const AdditionTerms& terms)
      : high_factors(factors(terms.multiplier_a >> kLowBits, terms.multiplier_b >> kLowBits)),
        low_factors(factors(terms.multiplier_a & kLowMask, terms.multiplier_b & kLowMask)),
        bias(_mm512_set1_epi32(terms.bias - 128 * (terms.multiplier_a + terms.multiplier_b))),
        shift(_mm512_set1_epi32(terms.shift - kLowBits)),
        zero_point(_mm512_set1_epi16(static_cast<int16_t>(terms.zero_point))),
        low(_mm512_set1_epi8(terms.low)),
        high(_mm512_set1_epi8(terms.high)) {}

  __m512i high_factors, low_factors;  // pairs of int16: of a, of b
  __m512i bias, shift;
  __m512i zero_point, low, high;  // int16, int8, int8
};

// Of 16 pairs of codes + 128. (high * 2^13 + low) >> shift is (high + (low >> 13)) >> (shift - 13).
[[gnu::always_inline]] inline __m512i add_sixteen(const Terms& terms, __m512i pairs) {
  const __m512i low = _mm512_srai_epi32(_mm512_dpwssd_epi32(terms.bias, pairs, terms.low_factors), kLowBits);
  return _mm512_srav_epi32(_mm512_dpwssd_epi32(low, pairs, terms.high_factors), terms.shift);
}

// The 32 codes whose pairs lie in `pairs` as bytes.
[[gnu::always_inline]] inline __m512i add_half(const Terms& terms, __m512i pairs) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i sums = _mm512_packs_epi32(add_sixteen(terms, _mm512_unpacklo_epi8(pairs, zero)),
                                          add_sixteen(terms, _mm512_unpackhi_epi8(pairs, zero)));
  return _mm512_adds_epi16(sums, terms.zero_point);
}

// The packs put codes back into the order that the unpacking took them from.
template <bool kClamps>
[[gnu::always_inline]] inline __m512i add_all(const Terms& terms, __m512i a, __m512i b) {
  const __m512i sign = _mm512_set1_epi8(static_cast<char>(0x80));
  a = _mm512_xor_si512(a, sign);
  b = _mm512_xor_si512(b, sign);
  const __m512i codes =
      _mm512_packs_epi16(add_half(terms, _mm512_unpacklo_epi8(a, b)), add_half(terms, _mm512_unpackhi_epi8(a, b)));
  if constexpr (!kClamps) return codes;
  return _mm512_min_epi8(_mm512_max_epi8(codes, terms.low), terms.high);
}

template <bool kClamps>
void add_run(const AdditionTerms& of_layer, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const Terms terms(of_layer);
  size_t i = 0;
  for (; i + kStep <= count; i += kStep) {
    const __m512i of_a = _mm512_loadu_si512(a + i), of_b = _mm512_loadu_si512(b + i);
    _mm512_storeu_si512(out + i, add_all<kClamps>(terms, of_a, of_b));
  }
  if (i == count) return;
  const __mmask64 mask = (__mmask64{1} << (count - i)) - 1;
  const __m512i of_a = _mm512_maskz_loadu_epi8(mask, a + i), of_b = _mm512_maskz_loadu_epi8(mask, b + i);
  _mm512_mask_storeu_epi8(out + i, mask, add_all<kClamps>(terms, of_a, of_b));
}

void add(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  const bool clamps = terms.low != -128 || terms.high != 127;
  return clamps ? add_run<true>(terms, a, b, count, out) : add_run<false>(terms, a, b, count, out);
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
