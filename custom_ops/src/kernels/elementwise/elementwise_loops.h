// Loops that compilers vectorize, compiled once for each ISA: the including file makes a kernel of them, and CMake
// gives it its flags. Textual, without an include guard; everything has internal linkage and no library template is
// used, for the reasons of unpack_words.h.
#include <cstring>

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "kernels/cpu.h"
#include "kernels/elementwise/elementwise.h"

namespace nq {
namespace {

// Added to a float, it leaves the nearest integer in the lower bits, of which 0 is kIntegerZero.
constexpr float kOneAndAHalfTimes2To23 = 12582912.0f;
constexpr uint32_t kIntegerZero = 0x4B400000u;

// The nearest integer, the even one of two, clamped to 16 bits. Compilers vectorize it as they do not std::lrint.
inline int32_t round_to_word(float value) {
  value = value < 32767.0f ? value : 32767.0f;  // also what is not a number
  value = (value > -32768.0f ? value : -32768.0f) + kOneAndAHalfTimes2To23;
  int32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits - static_cast<int32_t>(kIntegerZero);
}

inline int8_t clamp_code(int32_t code, int32_t low, int32_t high) {
  code = code < low ? low : code;
  return static_cast<int8_t>(code > high ? high : code);
}

inline int8_t multiply_codes(const MultiplicationTerms& t, int8_t a, int8_t b) {
  const int32_t product = (a - t.zero_a) * (b - t.zero_b);
  return clamp_code(round_to_word(static_cast<float>(product) * t.scale) + t.zero_point, t.low, t.high);
}

inline int8_t quantize_float(float in, float inverse_scale, int32_t zero_point) {
  return clamp_code(round_to_word(in * inverse_scale) + zero_point, -128, 127);
}

void dequantize(const int8_t* __restrict in, size_t count, float scale, int32_t zero_point, float* __restrict out) {
  for (size_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i] - zero_point) * scale;
}

// Compilers do not vectorize the loop over channels around the one over taps by themselves.
typedef int8_t Codes16 __attribute__((vector_size(16)));

inline Codes16 load_codes(const int8_t* from) {
  Codes16 codes;
  std::memcpy(&codes, from, sizeof(codes));
  return codes;
}

inline void greatest_of_16(const int8_t* const* taps, size_t num_taps, size_t at, int8_t* out) {
  Codes16 greatest = load_codes(taps[0] + at);
  for (size_t t = 1; t < num_taps; ++t) {
    const Codes16 codes = load_codes(taps[t] + at);
    greatest = codes > greatest ? codes : greatest;
  }
  std::memcpy(out, &greatest, sizeof(greatest));
}

void greatest(const int8_t* const* taps, size_t num_taps, const PooledRow& row, int8_t* out) {
  for (size_t p = 0; p < row.pixels; ++p, out += row.channels) {
    const size_t at = p * row.step;
    size_t c = 0;
    for (; c + 16 <= row.channels; c += 16) greatest_of_16(taps, num_taps, at + c, out + c);
    if (c > 0 && c < row.channels) c = row.channels - 16, greatest_of_16(taps, num_taps, at + c, out + c), c += 16;
    for (; c < row.channels; ++c) {
      int8_t most = taps[0][at + c];
      for (size_t t = 1; t < num_taps; ++t) most = taps[t][at + c] > most ? taps[t][at + c] : most;
      out[c] = most;
    }
  }
}

void add_to(const int8_t* __restrict in, size_t count, int32_t* __restrict sums) {
  for (size_t i = 0; i < count; ++i) sums[i] += in[i];
}

inline float clamp_float(float value, float low, float high) {
  value = value < low ? low : value;
  return value > high ? high : value;
}

// The loop's steps do not depend on one another, whatever the compiler can tell of its pointers.
#if defined(__clang__)
#define NQ_EACH_BY_ITSELF _Pragma("clang loop vectorize(assume_safety)")
#else
#define NQ_EACH_BY_ITSELF _Pragma("GCC ivdep")
#endif

// An operand that stands still is read before the loop, so that compilers vectorize all three. In place too.
template <typename Operation>
[[gnu::always_inline]] inline void combine_floats(const FloatOperands& operands, float low, float high, size_t count,
                                                  float* out, const Operation& operation) {
  const float *a = operands.a, *b = operands.b;
  if (operands.a_step == 0) {
    const float still = *a;
    NQ_EACH_BY_ITSELF
    for (size_t i = 0; i < count; ++i) out[i] = clamp_float(operation(still, b[i]), low, high);
  } else if (operands.b_step == 0) {
    const float still = *b;
    NQ_EACH_BY_ITSELF
    for (size_t i = 0; i < count; ++i) out[i] = clamp_float(operation(a[i], still), low, high);
  } else {
    NQ_EACH_BY_ITSELF
    for (size_t i = 0; i < count; ++i) out[i] = clamp_float(operation(a[i], b[i]), low, high);
  }
}

void add_floats(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return a + b; });
}

void subtract_floats(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return a - b; });
}

void multiply_floats(const FloatOperands& operands, float low, float high, size_t count, float* out) {
  combine_floats(operands, low, high, count, out, [](float a, float b) { return a * b; });
}

inline int8_t look_up_code(const int8_t* table, int8_t code) { return table[code + 128]; }

}  // namespace
}  // namespace nq

#include "kernels/elementwise/code_loops.h"
#include "kernels/elementwise/float_loops.h"

namespace nq {
namespace {

// What each ISA has its own of: the including file defines these.
void multiply(const MultiplicationTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out);
void multiply_by(const MultiplicationTerms& terms, const int8_t* a, int8_t b, size_t count, int8_t* out);
void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out);
void look_up(const int8_t* table, const int8_t* in, size_t count, int8_t* out);

constexpr ElementwiseKernel elementwise_kernel(const char* isa, bool (*supported)()) {
  ElementwiseKernel kernel;
  kernel.isa = isa;
  kernel.supported = supported;
  kernel.multiply.of_both = multiply;
  kernel.multiply.by_one = multiply_by;
  kernel.quantize = quantize;
  kernel.dequantize = dequantize;
  kernel.look_up = look_up;
  kernel.pooling.greatest = greatest;
  kernel.pooling.add_to = add_to;
  kernel.codes = code_loops();
  kernel.floats = float_loops();
  kernel.attention = attention_loops();
  return kernel;
}

}  // namespace
}  // namespace nq
