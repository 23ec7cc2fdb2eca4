// Functions of floats, for elementwise_loops.h, which compiles them for each ISA. They use additions, products,
// divisions and comparisons alone, in one order, so that every ISA gives the same bytes; what is not a number stays so.
// Sums of products that are rounded once are slow where there is no instruction for them, and differ on 32-bit Arm.

namespace nq {
namespace {

// a * b + c, rounded once. Where the CPU has no instruction for it, in double, which holds the product of two floats.
#if defined(__FMA__) || defined(__AVX512F__) || defined(__aarch64__)
inline float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#elif defined(__arm__)  // where it would take tens of cycles: rounded twice, and so another result in the last bit
inline float multiply_add(float a, float b, float c) { return a * b + c; }
#else
// The sum as a float, its last bit made odd before where it is not exact, so that it is not rounded twice.
[[gnu::noinline, gnu::cold]] float round_once(double product, double added) {
  double sum = product + added;
  const double of_c = sum - product, lost = (product - (sum - of_c)) + (added - of_c);
  int64_t bits;
  std::memcpy(&bits, &sum, sizeof(bits));
  const int64_t step = (lost > 0.0) == (sum > 0.0) ? 1 : -1;
  bits += ((lost < 0.0) | (lost > 0.0)) & ((bits & 1) == 0) ? step : 0;
  std::memcpy(&sum, &bits, sizeof(sum));
  return static_cast<float>(sum);
}

inline float multiply_add(float a, float b, float c) {
  constexpr int64_t kBehindFloats = 0x1FFFFFFF, kHalf = 0x10000000, kLeastNormal = int64_t{1023 - 126} << 52;
  const double product = static_cast<double>(a) * static_cast<double>(b), sum = product + static_cast<double>(c);
  int64_t bits;
  std::memcpy(&bits, &sum, sizeof(bits));
  const bool may_round_twice = (bits & kBehindFloats) == kHalf || (bits & INT64_MAX) < kLeastNormal;
  return __builtin_expect(may_round_twice, 0) ? round_once(product, static_cast<double>(c)) : static_cast<float>(sum);
}
#endif

// 2 to the integer that kOneAndAHalfTimes2To23 was added to.
inline float power_of_two(float shifted) {
  uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits - kIntegerZero + 127u) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof(bits));
  return power;
}

// exp(x) = scale * p + scale, and exp(x) - 1 = scale * p + (scale - 1), which keeps its digits near 0.
struct Exponential {
  float p, scale;
};

constexpr float kLeastExponent = -86.0f;  // from here on exp(x) counts as 0

// Of x <= 0: scale is a power of two, and p = exp(r) - 1 of the rest, |r| <= log(2) / 2, by a polynomial of degree 7
// whose error is below 1e-7.
inline Exponential exponential(float x) {
  x = x < kLeastExponent ? kLeastExponent : x;
  const float shifted = x * 1.44269504f + kOneAndAHalfTimes2To23;
  const float whole = shifted - kOneAndAHalfTimes2To23;
  const float r = (x - whole * 0.693359375f) - whole * -2.12194440e-4f;  // log(2) in two parts, the first exact
  const float series =
      ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
       1.6666665459e-1f) *
          r +
      5.0000001201e-1f;
  return {series * (r * r) + r, power_of_two(shifted)};
}

inline float exp_of(float x) {
  const Exponential e = exponential(x);
  const float power = e.scale * e.p + e.scale;
  return x < kLeastExponent ? 0.0f : power;
}

inline float exp_minus_1(float x) {
  const Exponential e = exponential(x);
  return e.scale * e.p + (e.scale - 1.0f);
}

inline float logistic(float x) {
  const float power = exp_of(x < 0.0f ? x : -x);
  const float dividend = x < 0.0f ? power : 1.0f;
  return dividend / (1.0f + power);
}

inline float tanh_of(float x) {
  const float less = exp_minus_1(x < 0.0f ? x + x : -(x + x));
  const float magnitude = -less / (less + 2.0f);
  return x < 0.0f ? -magnitude : magnitude;
}

inline float elu(float x) {
  const float below = exp_minus_1(x < 0.0f ? x : x - x);
  return x > 0.0f ? x : below;
}

inline float hard_swish(float x) { return x * clamp_float(x + 3.0f, 0.0f, 6.0f) / 6.0f; }

// x / (1 + 2^t) with t = -x log2(e), whose fraction's power is a polynomial of degree 5: an error below 2e-7 |x|. What
// is less than -87 counts as that, which gives -1e-36.
inline float swish(float x) {
  x = x < -87.0f ? -87.0f : x;
  float t = x * -1.44269504f;
  t = t < -126.0f ? -126.0f : t;
  const float shifted = t + kOneAndAHalfTimes2To23;
  const float r = t - (shifted - kOneAndAHalfTimes2To23);
  const float power =
      ((((1.326472731e-3f * r + 9.671512991e-3f) * r + 5.550733581e-2f) * r + 2.402224243e-1f) * r + 6.931470037e-1f) *
          r +
      1.0f;
  return x / (1.0f + power_of_two(shifted) * power);
}

// x or 0, less |x| times (1 - erf(|x| / sqrt(2))) / 2, a polynomial of degree 15 within 6e-8 without a division, which
// would take as long as all of it. Beyond kFlat nothing changes.
inline float gelu(float x) {
  constexpr float kFlat = 5.2f;
  constexpr float kOdd[] = {-0.0035406542f, 0.0151744038f, -0.0116373599f, -0.066331327f,
                            0.190458581f,   -0.109634891f, -0.229172796f,  -0.0353159346f};
  constexpr float kEven[] = {0.00565812318f, -0.0355934687f, 0.0912005305f, -0.083359167f,
                             -0.10479667f,   0.252863705f,   0.119365796f,  0.00466119777f};
  const float given = x < 0.0f ? -x : x, magnitude = given > kFlat ? kFlat : given;
  const float from_middle = multiply_add(magnitude, 2.0f / kFlat, -1.0f), square = from_middle * from_middle;
  float odd = kOdd[0], even = kEven[0];  // two sums that do not wait for each other
#pragma GCC unroll 7
  for (int i = 1; i < 8; ++i) odd = multiply_add(odd, square, kOdd[i]), even = multiply_add(even, square, kEven[i]);
  return (x > 0.0f ? x : 0.0f) - magnitude * multiply_add(odd, from_middle, even);
}

// x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))) / 2
inline float gelu_by_tanh(float x) { return x * logistic(1.5957691216f * (x + 0.044715f * (x * x * x))); }

// In place too.
template <typename Function>
[[gnu::always_inline]] inline void map_floats(const float* in, size_t count, float* out, const Function& function) {
  NQ_EACH_BY_ITSELF
  for (size_t i = 0; i < count; ++i) out[i] = function(in[i]);
}

void logistic_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, logistic); }
void tanh_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, tanh_of); }
void elu_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, elu); }
void hard_swish_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, hard_swish); }
void swish_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, swish); }
void gelu_floats(const float* in, size_t count, float* out) { map_floats(in, count, out, gelu); }
void gelu_floats_by_tanh(const float* in, size_t count, float* out) { map_floats(in, count, out, gelu_by_tanh); }
void negate_floats(const float* in, size_t count, float* out) {
  map_floats(in, count, out, [](float x) { return -x; });
}
void square_floats(const float* in, size_t count, float* out) {
  map_floats(in, count, out, [](float x) { return x * x; });
}
void root_floats(const float* in, size_t count, float* out) {
  map_floats(in, count, out, [](float x) { return __builtin_sqrtf(x); });
}
void inverse_root_floats(const float* in, size_t count, float* out) {
  map_floats(in, count, out, [](float x) { return 1.0f / __builtin_sqrtf(x); });
}

void difference_squared(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return (a - b) * (a - b); });
}
void divide_floats(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return a / b; });
}
void greater_of(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return (a > b) | (a != a) ? a : b; });
}
void lesser_of(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return (a < b) | (a != a) ? a : b; });
}

void leak_floats(const float* in, size_t count, float slope, float* out) {
  map_floats(in, count, out, [slope](float x) {
    const float leaked = x * slope;
    return x < 0.0f ? leaked : x;
  });
}

void clamp_floats(const float* in, size_t count, float low, float high, float* out) {  // in place too
  for (size_t i = 0; i < count; ++i) out[i] = clamp_float(in[i], low, high);
}

void scale_floats(float* values, size_t count, float factor) {
  for (size_t i = 0; i < count; ++i) values[i] *= factor;
}

// What is not a number is greater than all others.
void raise_floats(const float* __restrict in, size_t count, float* __restrict out) {
  for (size_t i = 0; i < count; ++i) out[i] = (in[i] > out[i]) | (in[i] != in[i]) ? in[i] : out[i];
}

void add_floats_to(const float* __restrict in, size_t count, float* __restrict sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += in[i];
}

constexpr size_t kLanes = 16;  // that sum and compare apart, so that the order is one on every ISA

typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));  // one register of AVX-512, or several

// As many floats as a register holds: compilers choose between those one by one where a vector is longer.
#if defined(__AVX512F__)
constexpr size_t kPiece = 16;
#elif defined(__AVX2__)
constexpr size_t kPiece = 8;
#else
constexpr size_t kPiece = 4;
#endif
constexpr size_t kPieces = kLanes / kPiece;
typedef float Piece __attribute__((vector_size(kPiece * sizeof(float))));

// By pointers: how such a vector is given to a function depends on the ISA.
inline void load_lanes(const float* from, Lanes* lanes) { std::memcpy(lanes, from, sizeof(*lanes)); }

// What `join` makes of all lanes: of each and the one half as far again, until one is left. Not by raise_floats and the
// like: once they are inlined, GCC 12 for 32-bit Arm takes their __restrict to hold from one half to the next, and
// reads what it has yet to write.
template <typename Join>
[[gnu::always_inline]] inline float fold(const float* lanes, const Join& join) {
#if defined(__AVX2__)
  const __m256 eight = join(_mm256_loadu_ps(lanes), _mm256_loadu_ps(lanes + 8));
  const __m128 four = join(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = join(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(join(two, _mm_movehdup_ps(two)));
#else
  float joined[kLanes];
  std::memcpy(joined, lanes, sizeof(joined));
  for (size_t half = kLanes / 2; half > 0; half /= 2) {
    for (size_t i = 0; i < half; ++i) joined[i] = join(joined[i], joined[half + i]);
  }
  return joined[0];
#endif
}

float greatest_float(const float* in, size_t count) {
  float lanes[kLanes];
  for (float& lane : lanes) lane = in[0];
  size_t i = 0;
  if (count >= kLanes) {
    constexpr size_t kApart = 4;  // so that few comparisons wait for the one before
    struct Block {
      Piece of[kPieces];
      [[gnu::always_inline]] void load(const float* from) { std::memcpy(of, from, sizeof(of)); }
      [[gnu::always_inline]] void raise(const Block& by) {
#pragma GCC unroll 4
        for (size_t p = 0; p < kPieces; ++p) of[p] = (by.of[p] > of[p]) | (by.of[p] != by.of[p]) ? by.of[p] : of[p];
      }
    };
    Block greatest[kApart], next;
    for (Block& each : greatest) each.load(in);
    for (i = kLanes; i + kApart * kLanes <= count; i += kApart * kLanes) {
#pragma GCC unroll 4
      for (size_t k = 0; k < kApart; ++k) next.load(in + i + k * kLanes), greatest[k].raise(next);
    }
    for (; i + kLanes <= count; i += kLanes) next.load(in + i), greatest[0].raise(next);
    for (size_t k = 1; k < kApart; ++k) greatest[0].raise(greatest[k]);
    std::memcpy(lanes, &greatest[0], sizeof(lanes));
  }
  if (i < count) raise_floats(in + i, count - i, lanes);
  return fold(lanes, [](auto a, auto b) { return (b > a) | (b != b) ? b : a; });
}

// Of what `change` makes of the elements.
template <typename Function>
[[gnu::always_inline]] inline float sum_of(const float* in, size_t count, const Function& change) {
  Lanes sums = {}, next;
  size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    load_lanes(in + i, &next);
    change(&next);
    sums += next;
  }
  float lanes[kLanes];
  std::memcpy(lanes, &sums, sizeof(lanes));
  if (i < count) {
    float last[kLanes] = {};
    std::memcpy(last, in + i, (count - i) * sizeof(float));
    load_lanes(last, &next);
    change(&next);
    for (size_t k = 0; i + k < count; ++k) lanes[k] += next[k];
  }
  return fold(lanes, [](auto a, auto b) { return a + b; });
}

float sum_floats(const float* in, size_t count) {
  return sum_of(in, count, [](Lanes*) {});
}

// The sums stay in a register.
void average_taps(const float* const* taps, size_t num_taps, const AverageTerms& terms, size_t channels, float* out) {
  for (size_t c = 0; c < channels; c += kPiece) {
    const size_t count = channels - c < kPiece ? channels - c : kPiece;
    Piece sums = {}, tap = {};
    for (size_t t = 0; t < num_taps; ++t) {
      if (count == kPiece) {
        std::memcpy(&tap, taps[t] + c, sizeof(tap));
      } else {
        std::memcpy(&tap, taps[t] + c, count * sizeof(float));
      }
      sums += tap;
    }
    sums *= terms.factor;
    sums = sums < terms.low ? Piece{} + terms.low : sums;
    sums = sums > terms.high ? Piece{} + terms.high : sums;
    if (count == kPiece) {
      std::memcpy(out + c, &sums, sizeof(sums));
    } else {
      std::memcpy(out + c, &sums, count * sizeof(float));
    }
  }
}

// `count` channels of a pixel, a register's at most.
template <bool kWhole>
[[gnu::always_inline]] inline void multiply_lanes(const TapProduct& product, const int8_t* const* taps, size_t offset,
                                                  const float* weights, const float* bias, size_t count, float* out) {
  const auto load = [count](const void* from, Lanes* lanes) {
    if (kWhole) {
      std::memcpy(lanes, from, sizeof(*lanes));
    } else {
      *lanes = Lanes{};
      std::memcpy(lanes, from, count * sizeof(float));
    }
  };
  Lanes sums, tap, weight;
  load(bias, &sums);
  for (size_t t = 0; t < product.taps; ++t) {
    load(taps[t] + offset, &tap);
    load(weights + t * product.channels, &weight);
    sums += tap * weight;
  }
  sums = sums < product.low ? Lanes{} + product.low : sums;
  sums = sums > product.high ? Lanes{} + product.high : sums;
  std::memcpy(out, &sums, kWhole ? sizeof(sums) : count * sizeof(float));
}

void multiply_taps(const TapProduct& product, const int8_t* const* taps, const float* weights, const float* bias,
                   float* out) {
  for (size_t pixel = 0; pixel < product.pixels; ++pixel, out += product.channels) {
    const size_t at = pixel * product.step;
    size_t c = 0;
    for (; c + kLanes <= product.channels; c += kLanes) {
      multiply_lanes<true>(product, taps, at + c * sizeof(float), weights + c, bias + c, kLanes, out + c);
    }
    if (c == product.channels) continue;
    multiply_lanes<false>(product, taps, at + c * sizeof(float), weights + c, bias + c, product.channels - c, out + c);
  }
}

float sum_squares(const float* in, size_t count, float mean) {
  return sum_of(in, count, [mean](Lanes* x) { *x = (*x - mean) * (*x - mean); });
}

void apply_norm(const float* in, size_t rows, size_t columns, const NormTerms& terms, float* out) {
  const float mean = terms.mean, factor = terms.factor;
  const float* __restrict gamma = terms.gamma;
  const float* __restrict beta = terms.beta;
  for (size_t row = 0; row < rows; ++row, in += columns, out += columns) {
    const float* __restrict from = in;
    float* __restrict to = out;
    if (gamma != nullptr && beta != nullptr) {
      for (size_t i = 0; i < columns; ++i) to[i] = (from[i] - mean) * factor * gamma[i] + beta[i];
    } else {
      for (size_t i = 0; i < columns; ++i) to[i] = (from[i] - mean) * factor;
      for (size_t i = 0; gamma != nullptr && i < columns; ++i) to[i] *= gamma[i];
      for (size_t i = 0; beta != nullptr && i < columns; ++i) to[i] += beta[i];
    }
  }
}

void normalize_floats(const float* in, size_t count, float epsilon, const float* gamma, const float* beta, float* out) {
  const auto size = static_cast<float>(count);
  const float mean = sum_floats(in, count) / size, variance = sum_squares(in, count, mean) / size;
  apply_norm(in, 1, count, {mean, 1.0f / __builtin_sqrtf(variance + epsilon), gamma, beta}, out);
}

float exponentials(const float* in, size_t count, float greatest, float beta, float* out) {
  map_floats(in, count, out, [greatest, beta](float x) { return exp_of((x - greatest) * beta); });
  return sum_floats(out, count);
}

}  // namespace
}  // namespace nq

#include "kernels/elementwise/attention_loops.h"
#include "kernels/elementwise/matrix_loops.h"

namespace nq {
namespace {

constexpr ElementwiseKernel::Floats float_loops() {
  ElementwiseKernel::Floats floats;
  floats.add = add_floats;
  floats.subtract = subtract_floats;
  floats.multiply = multiply_floats;
  floats.logistic = logistic_floats;
  floats.tanh = tanh_floats;
  floats.elu = elu_floats;
  floats.hard_swish = hard_swish_floats;
  floats.swish = swish_floats;
  floats.gelu = gelu_floats;
  floats.gelu_by_tanh = gelu_floats_by_tanh;
  floats.negate = negate_floats;
  floats.square = square_floats;
  floats.root = root_floats;
  floats.inverse_root = inverse_root_floats;
  floats.difference_squared = difference_squared;
  floats.divide = divide_floats;
  floats.greater = greater_of;
  floats.lesser = lesser_of;
  floats.leak = leak_floats;
  floats.clamp = clamp_floats;
  floats.scale = scale_floats;
  floats.raise = raise_floats;
  floats.add_to = add_floats_to;
  floats.average = average_taps;
  floats.sum = sum_floats;
  floats.greatest = greatest_float;
  floats.exponentials = exponentials;
  floats.pack_panels = pack_panels;
  floats.multiply_panels = multiply_panels;
  floats.multiply_taps = multiply_taps;
  floats.normalize = normalize_floats;
  floats.sum_squares = sum_squares;
  floats.apply_norm = apply_norm;
  return floats;
}

}  // namespace
}  // namespace nq
