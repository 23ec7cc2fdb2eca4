// What stands around attention's two products of codes, for float_loops.h: floats to codes and back. The same
// bytes on every ISA: additions, products and comparisons in one order, and one division for a row or a column.

namespace nq {
namespace {

typedef int32_t IntPiece __attribute__((vector_size(kPiece * sizeof(int32_t))));

// kLanes integers.
struct IntLanes {
  IntPiece of[kPieces] = {};
};

// The bits of `count` floats' magnitudes, which compare as the floats do, infinity and what is not a number as greater.
[[gnu::always_inline]] inline void load_magnitudes(const float* from, size_t count, IntLanes* lanes) {
  if (count == kLanes) {
    std::memcpy(lanes->of, from, sizeof(lanes->of));
  } else {
    *lanes = IntLanes();
    std::memcpy(lanes->of, from, count * sizeof(float));
  }
#pragma GCC unroll 4
  for (IntPiece& piece : lanes->of) piece &= 0x7FFFFFFF;
}

[[gnu::always_inline]] inline void raise_magnitudes(const IntLanes& by, IntLanes* to) {
#pragma GCC unroll 4
  for (size_t p = 0; p < kPieces; ++p) to->of[p] = by.of[p] > to->of[p] ? by.of[p] : to->of[p];
}

inline int32_t greatest_of(const IntLanes& lanes) {
#if defined(__AVX2__)
  __m256i halves[2];
  std::memcpy(halves, lanes.of, sizeof(halves));
  const __m256i eight = _mm256_max_epi32(halves[0], halves[1]);
  const __m128i four = _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, 0x4E));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, 0xB1)));
#elif defined(__aarch64__)
  int32x4_t quarters[4];
  std::memcpy(quarters, lanes.of, sizeof(quarters));
  return vmaxvq_s32(vmaxq_s32(vmaxq_s32(quarters[0], quarters[1]), vmaxq_s32(quarters[2], quarters[3])));
#else
  int32_t all[kLanes], greatest = 0;
  std::memcpy(all, lanes.of, sizeof(all));
  for (const int32_t each : all) greatest = each > greatest ? each : greatest;
  return greatest;
#endif
}

// What floats of such magnitudes are multiplied by, and the scales of their codes.
inline void make_scales(const int32_t* magnitudes, size_t count, float* inverses, float* scales) {
  constexpr int32_t kInfinity = 0x7F800000, kLeast = (127 - 80) << 23;  // 2^-80: what is less counts as 0
  const float nan = __builtin_nanf("");
  for (size_t i = 0; i < count; ++i) {
    const bool is_finite = magnitudes[i] < kInfinity, counts = is_finite & (magnitudes[i] >= kLeast);
    const int32_t bits = counts ? magnitudes[i] : 127 << 23;  // 1, for a division that nobody asks for
    float greatest;
    std::memcpy(&greatest, &bits, sizeof(greatest));
    const float inverse = 127.0f / greatest, scale = greatest * (1.0f / 127.0f);
    inverses[i] = counts ? inverse : 0.0f;
    scales[i] = counts ? scale : is_finite ? 0.0f : nan;
  }
}

// The lowest byte of each.
[[gnu::always_inline]] inline void store_codes(const IntLanes& lanes, size_t count, int8_t* out) {
  int8_t codes[kLanes];
#if defined(__AVX512F__)
  __m512i all;
  std::memcpy(&all, lanes.of, sizeof(all));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), _mm512_cvtepi32_epi8(all));
#elif defined(__AVX2__)
  __m256i halves[2];
  std::memcpy(halves, lanes.of, sizeof(halves));
  const __m256i first = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,  //
                                         0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
  const __m256i fours = _mm256_unpacklo_epi32(_mm256_shuffle_epi8(halves[0], first),
                                              _mm256_shuffle_epi8(halves[1], first));  // 0 2 of one half, 1 3 of other
  const __m128i pairs = _mm_unpacklo_epi32(_mm256_castsi256_si128(fours), _mm256_extracti128_si256(fours, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(codes), pairs);
#elif defined(__aarch64__)
  int8x16_t bytes[4];
  std::memcpy(bytes, lanes.of, sizeof(bytes));
  vst1q_s8(codes, vuzp1q_s8(vuzp1q_s8(bytes[0], bytes[1]), vuzp1q_s8(bytes[2], bytes[3])));
#else
  int32_t all[kLanes];
  std::memcpy(all, lanes.of, sizeof(all));
  for (size_t i = 0; i < kLanes; ++i) codes[i] = static_cast<int8_t>(all[i]);
#endif
  if (count == kLanes) {
    std::memcpy(out, codes, sizeof(codes));
  } else {
    std::memcpy(out, codes, count);
  }
}

// kLanes floats.
struct FloatLanes {
  Piece of[kPieces] = {};
};

// The nearest integers of floats times factors, within int8.
[[gnu::always_inline]] inline void store_scaled(const float* from, size_t count, const FloatLanes& factors,
                                                int8_t* out) {
  FloatLanes values;
  if (count == kLanes) {
    std::memcpy(values.of, from, sizeof(values.of));
  } else {
    std::memcpy(values.of, from, count * sizeof(float));
  }
  IntLanes bits;
#pragma GCC unroll 4
  for (size_t p = 0; p < kPieces; ++p) {
    const Piece shifted = values.of[p] * factors.of[p] + kOneAndAHalfTimes2To23;  // whose lowest byte is the code
    std::memcpy(&bits.of[p], &shifted, sizeof(shifted));
  }
  store_codes(bits, count, out);
}

inline size_t lanes_at(size_t at, size_t count) { return count - at < kLanes ? count - at : kLanes; }

// kLanes rows at most: their scales take one division.
inline void quantize_some_rows(const float* from, int64_t stride, size_t rows, size_t depth, int8_t* codes,
                               float* scales) {
  int32_t magnitudes[kLanes];
  float inverses[kLanes];
  for (size_t row = 0; row < rows; ++row) {
    const float* at = from + static_cast<int64_t>(row) * stride;
    IntLanes greatest, next;
    for (size_t k = 0; k < depth; k += kLanes) {
      load_magnitudes(at + k, lanes_at(k, depth), &next);
      raise_magnitudes(next, &greatest);
    }
    magnitudes[row] = greatest_of(greatest);
  }
  make_scales(magnitudes, rows, inverses, scales);
  for (size_t row = 0; row < rows; ++row, from += stride, codes += depth) {
    if (inverses[row] == 0.0f) {
      std::memset(codes, 0, depth);
      continue;
    }
    FloatLanes factors;
    for (Piece& piece : factors.of) piece += inverses[row];
    for (size_t k = 0; k < depth; k += kLanes) store_scaled(from + k, lanes_at(k, depth), factors, codes + k);
  }
}

void quantize_rows(const float* from, int64_t stride, size_t rows, size_t depth, int8_t* codes, float* scales) {
  for (size_t row = 0; row < rows; row += kLanes) {
    quantize_some_rows(from + static_cast<int64_t>(row) * stride, stride, lanes_at(row, rows), depth,
                       codes + row * depth, scales + row);
  }
}

void quantize_columns(const float* from, int64_t stride, size_t rows, size_t columns, int8_t* codes, float* scales) {
  for (size_t c = 0; c < columns; c += kLanes) {
    const size_t count = lanes_at(c, columns);
    IntLanes greatest, next;
    for (size_t row = 0; row < rows; ++row) {
      load_magnitudes(from + static_cast<int64_t>(row) * stride + c, count, &next);
      raise_magnitudes(next, &greatest);
    }
    int32_t magnitudes[kLanes];
    float inverses[kLanes], scales_of_all[kLanes];
    std::memcpy(magnitudes, greatest.of, sizeof(magnitudes));
    make_scales(magnitudes, kLanes, inverses, scales_of_all);
    std::memcpy(scales + c, scales_of_all, count * sizeof(float));
    FloatLanes factors;
    std::memcpy(factors.of, inverses, sizeof(factors.of));
    for (size_t row = 0; row < rows; ++row) {
      store_scaled(from + static_cast<int64_t>(row) * stride + c, count, factors, codes + row * columns + c);
    }
    for (size_t i = 0; i < count; ++i) {  // of floats that are not finite
      if (inverses[i] != 0.0f) continue;
      for (size_t row = 0; row < rows; ++row) codes[row * columns + c + i] = 0;
    }
  }
}

void sums_to_floats(const CodeSumTerms& terms, const int32_t* sums, size_t count, float* out) {
  const int32_t *more = terms.more, one = terms.one;
  const float *scales = terms.scales, factor = terms.factor;
  if (more == nullptr) {
    NQ_EACH_BY_ITSELF
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(sums[i] + one) * scales[i] * factor;
  } else {
    NQ_EACH_BY_ITSELF
    for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(sums[i] + more[i] + one) * scales[i] * factor;
  }
}

// 255 * 2^t of t <= 0, rounded: a polynomial of degree 3 of t's fraction, within 0.02 before it is rounded. From -9 on
// there is nothing left.
[[gnu::always_inline]] inline void power_codes(const Piece& exponents, IntPiece* codes) {
  const Piece t = exponents < -32.0f ? Piece{} - 32.0f : exponents;
  const Piece shifted = t + kOneAndAHalfTimes2To23;
  const Piece r = t - (shifted - kOneAndAHalfTimes2To23);
  const Piece series = ((14.0687f * r + 61.8656f) * r + 176.7816f) * r + 254.9817f;
  IntPiece exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - (static_cast<int32_t>(kIntegerZero) - 127)) << 23;
  Piece power;
  std::memcpy(&power, &exponent, sizeof(power));
  const Piece rounded = power * series + kOneAndAHalfTimes2To23;
  std::memcpy(codes, &rounded, sizeof(*codes));
  *codes -= static_cast<int32_t>(kIntegerZero);
}

int32_t power_weights(const float* in, size_t count, float greatest, float beta, int8_t* out) {
  const float factor = beta * 1.44269504f;
  IntPiece sums = {};
  for (size_t i = 0; i < count; i += kLanes) {
    IntLanes codes;
#pragma GCC unroll 4
    for (size_t p = 0; p < kPieces; ++p) {
      Piece x;
      std::memcpy(&x, in + i + p * kPiece, sizeof(x));
      power_codes((x - greatest) * factor, &codes.of[p]);
      sums += codes.of[p];
      codes.of[p] -= 128;
    }
    store_codes(codes, kLanes, out + i);
  }
  int32_t sum = 0;
  for (size_t i = 0; i < kPiece; ++i) sum += sums[i];
  return sum;
}

constexpr ElementwiseKernel::Attention attention_loops() {
  ElementwiseKernel::Attention attention;
  attention.quantize_rows = quantize_rows;
  attention.quantize_columns = quantize_columns;
  attention.to_floats = sums_to_floats;
  attention.weights = power_weights;
  return attention;
}

}  // namespace
}  // namespace nq
