// What stands around attention's two products of codes, for float_loops.h: floats to codes and back. The same
// bytes on every ISA: additions, products and comparisons in one order, and one division for a row or a column.

namespace nq {
namespace {

typedef int32_t IntLanes __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef int8_t CodeLanes __attribute__((vector_size(kLanes)));

// The bits of `count` floats' magnitudes, which compare as the floats do, infinity and what is not a number as greater.
[[gnu::always_inline]] inline void load_magnitudes(const float* from, size_t count, IntLanes* lanes) {
  *lanes = IntLanes{};
  if (count == kLanes) {
    std::memcpy(lanes, from, sizeof(*lanes));
  } else {
    std::memcpy(lanes, from, count * sizeof(float));
  }
  *lanes &= 0x7FFFFFFF;
}

inline void raise_magnitudes(const IntLanes& by, IntLanes* to) { *to = by > *to ? by : *to; }

inline int32_t greatest_of(const IntLanes& lanes) {
  int32_t left[kLanes];
  std::memcpy(left, &lanes, sizeof(left));
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) left[i] = left[half + i] > left[i] ? left[half + i] : left[i];
  }
  return left[0];
}

// What floats of such a magnitude are multiplied by, and the scale of their codes: quantize_group's arithmetic.
struct CodeScale {
  float inverse, scale;
};

inline CodeScale code_scale(int32_t magnitude) {
  constexpr int32_t kInfinity = 0x7F800000, kLeast = (127 - 80) << 23;  // 2^-80: what is less counts as 0
  if (magnitude >= kInfinity) return {0.0f, __builtin_nanf("")};
  if (magnitude < kLeast) return {0.0f, 0.0f};
  float greatest;
  std::memcpy(&greatest, &magnitude, sizeof(greatest));
  return {127.0f / greatest, greatest / 127.0f};
}

// The lowest byte of each.
[[gnu::always_inline]] inline void store_codes(const IntLanes& lanes, size_t count, int8_t* out) {
  const CodeLanes codes = __builtin_convertvector(lanes, CodeLanes);
  if (count == kLanes) {
    std::memcpy(out, &codes, sizeof(codes));
  } else {
    std::memcpy(out, &codes, count);
  }
}

// The nearest integers of floats within int8.
[[gnu::always_inline]] inline void store_nearest(const Lanes& values, size_t count, int8_t* out) {
  const Lanes shifted = values + kOneAndAHalfTimes2To23;  // whose lowest byte is the code
  IntLanes bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  store_codes(bits, count, out);
}

[[gnu::always_inline]] inline void store_scaled(const float* from, size_t count, const Lanes& factors, int8_t* out) {
  Lanes values = {};
  if (count == kLanes) {
    load_lanes(from, &values);
  } else {
    std::memcpy(&values, from, count * sizeof(float));
  }
  store_nearest(values * factors, count, out);
}

inline size_t lanes_at(size_t at, size_t count) { return count - at < kLanes ? count - at : kLanes; }

void quantize_rows(const float* from, int64_t stride, size_t rows, size_t depth, int8_t* codes, float* scales) {
  for (size_t row = 0; row < rows; ++row, from += stride, codes += depth) {
    IntLanes greatest = {}, next;
    for (size_t k = 0; k < depth; k += kLanes) {
      load_magnitudes(from + k, lanes_at(k, depth), &next);
      raise_magnitudes(next, &greatest);
    }
    const CodeScale scale = code_scale(greatest_of(greatest));
    scales[row] = scale.scale;
    if (scale.inverse == 0.0f) {
      std::memset(codes, 0, depth);
      continue;
    }
    for (size_t k = 0; k < depth; k += kLanes) {
      store_scaled(from + k, lanes_at(k, depth), Lanes{} + scale.inverse, codes + k);
    }
  }
}

void quantize_columns(const float* from, int64_t stride, size_t rows, size_t columns, int8_t* codes, float* scales) {
  for (size_t c = 0; c < columns; c += kLanes) {
    const size_t count = lanes_at(c, columns);
    IntLanes greatest = {}, next;
    for (size_t row = 0; row < rows; ++row) {
      load_magnitudes(from + static_cast<int64_t>(row) * stride + c, count, &next);
      raise_magnitudes(next, &greatest);
    }
    Lanes factors = {};
    for (size_t i = 0; i < count; ++i) {
      const CodeScale scale = code_scale(greatest[i]);
      factors[i] = scale.inverse;
      scales[c + i] = scale.scale;
    }
    for (size_t row = 0; row < rows; ++row) {
      const float* at = from + static_cast<int64_t>(row) * stride + c;
      store_scaled(at, count, factors, codes + row * columns + c);
    }
    for (size_t i = 0; i < count; ++i) {  // of floats that are not finite
      if (factors[i] != 0.0f) continue;
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
[[gnu::always_inline]] inline void power_codes(const Lanes& exponents, IntLanes* codes) {
  const Lanes t = exponents < -32.0f ? Lanes{} - 32.0f : exponents;
  const Lanes shifted = t + kOneAndAHalfTimes2To23;
  const Lanes r = t - (shifted - kOneAndAHalfTimes2To23);
  const Lanes series = ((14.0687f * r + 61.8656f) * r + 176.7816f) * r + 254.9817f;
  IntLanes exponent;
  std::memcpy(&exponent, &shifted, sizeof(exponent));
  exponent = (exponent - (static_cast<int32_t>(kIntegerZero) - 127)) << 23;
  Lanes power;
  std::memcpy(&power, &exponent, sizeof(power));
  const Lanes rounded = power * series + kOneAndAHalfTimes2To23;
  std::memcpy(codes, &rounded, sizeof(*codes));
  *codes -= static_cast<int32_t>(kIntegerZero);
}

int32_t power_weights(const float* in, size_t count, float greatest, float beta, int8_t* out) {
  const float factor = beta * 1.44269504f;
  IntLanes sums = {};
  for (size_t i = 0; i < count; i += kLanes) {
    Lanes x;
    IntLanes codes;
    load_lanes(in + i, &x);
    power_codes((x - greatest) * factor, &codes);
    sums += codes;
    store_codes(codes - 128, kLanes, out + i);
  }
  int32_t sum = 0;
  for (size_t i = 0; i < kLanes; ++i) sum += sums[i];
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
