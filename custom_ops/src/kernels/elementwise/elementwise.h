// Loops over elements that stand between layers. All kernels but the lookup are one source, compiled for each ISA
// (elementwise_loops.h); the same bytes from every one of them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"

namespace nq {

// clamp(round_half_even((a - zero_a) * (b - zero_b) * scale) + zero_point, low, high), the product of the codes exact.
struct MultiplicationTerms {
  float scale;
  int32_t zero_a, zero_b, zero_point;
  int8_t low, high;
};

// Each advances by 1 from one element to the next, or by 0.
struct FloatOperands {
  const float *a, *b;
  int64_t a_step, b_step;
};

// A matrix [depth, columns], and how far apart its elements lie along each.
struct PanelSource {
  size_t depth, columns;
  int64_t depth_stride, column_stride;
};

// As such a matrix lies packed: [ceil(columns / kPanelColumns), depth, kPanelColumns], zeros behind its last column.
inline constexpr size_t kPanelColumns = 16;

inline size_t panel_floats(size_t depth, size_t columns) {
  return (columns + kPanelColumns - 1) / kPanelColumns * kPanelColumns * depth;
}

// Of rows [depth], `a_stride` apart, by a packed matrix: rows [columns], `out_stride` apart.
struct PanelProduct {
  size_t rows, depth, columns;
  int64_t a_stride, out_stride;
};

// A run of pixels of a depthwise convolution: each tap moves on by `step` bytes from one to the next.
struct TapProduct {
  size_t pixels, step, taps, channels;
  float low, high;
};

// Packed int8 takes no more than that.
inline size_t code_panel_bytes(size_t depth, size_t columns) { return 2 * panel_floats(depth + 3, columns); }

// clamp((sum << left) * multiplier / 2^31, rounded, / 2^right, rounded, + zero_point, -128, 127), as TFLite's
// fixed-point arithmetic rounds.
struct RescalingTerms {
  int32_t multiplier, left, right, zero_point;
};

// Pixels that follow each other in the output; in the input, each lies `step` codes behind the one before.
struct PooledRow {
  size_t pixels, step, channels;
};

// (x - mean) * factor * gamma + beta, of which the last two may be null.
struct NormTerms {
  float mean, factor;
  const float *gamma, *beta;
};

struct AverageTerms {
  float factor, low, high;
};

// (sum + more + one) * scale * factor; `more` may be null.
struct CodeSumTerms {
  const int32_t* more;
  int32_t one;
  const float* scales;
  float factor;
};

// What is not a number counts as large where it becomes a code, and stays so among floats.
struct ElementwiseKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this

  struct Products {
    void (*of_both)(const MultiplicationTerms& terms, const int8_t* a, const int8_t* b, size_t count,
                    int8_t* out) = nullptr;
    void (*by_one)(const MultiplicationTerms& terms, const int8_t* a, int8_t b, size_t count, int8_t* out) = nullptr;
  } multiply;

  // clamp(round_half_even(in * inverse_scale) + zero_point, -128, 127)
  void (*quantize)(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) = nullptr;
  void (*dequantize)(const int8_t* in, size_t count, float scale, int32_t zero_point, float* out) = nullptr;
  // table[code + 128]
  void (*look_up)(const int8_t* table, const int8_t* in, size_t count, int8_t* out) = nullptr;

  struct Pooling {
    // out[p * channels + c] = the greatest of taps[t][p * step + c] over one tap or more, of which `out` may be one
    void (*greatest)(const int8_t* const* taps, size_t num_taps, const PooledRow& row, int8_t* out) = nullptr;
    void (*add_to)(const int8_t* in, size_t count, int32_t* sums) = nullptr;  // sums += in
  } pooling;

  struct Codes {
    // As those of floats. `sums` gets those of b's columns.
    void (*pack_panels)(const int8_t* from, const PanelSource& source, void* panels, int32_t* sums) = nullptr;
    // out = a (b + panel_offset)
    void (*multiply_panels)(const PanelProduct& product, const int8_t* a, const void* panels, int32_t* out) = nullptr;
    int32_t panel_offset = 0;
    // Of sums[i] + more[i] + one.
    void (*rescale)(const int32_t* sums, const int32_t* more, int32_t one, size_t count, const RescalingTerms& terms,
                    int8_t* out) = nullptr;
    int32_t (*sum)(const int8_t* in, size_t count) = nullptr;
    int32_t (*greatest)(const int8_t* in, size_t count) = nullptr;  // -128 of none
    // out = clamp(round(min(in * factor, 65536)) + zero_point, -128, 127), halves upwards, of what is not negative
    void (*weigh)(const float* in, size_t count, float factor, int32_t zero_point, int8_t* out) = nullptr;
  } codes;

  struct Floats {
    // clamp(a + b, low, high), and so on; in the place of an operand that advances too
    using Binary = void (*)(const FloatOperands& operands, float low, float high, size_t count, float* out);
    Binary add = nullptr, subtract = nullptr, multiply = nullptr, divide = nullptr, difference_squared = nullptr;
    Binary greater = nullptr, lesser = nullptr;
    using Unary = void (*)(const float* in, size_t count, float* out);  // in place too
    Unary logistic = nullptr, tanh = nullptr, elu = nullptr, hard_swish = nullptr, gelu = nullptr;
    Unary swish = nullptr;         // x * logistic(x)
    Unary gelu_by_tanh = nullptr;  // the approximation that many nets are trained with
    Unary negate = nullptr, square = nullptr, root = nullptr, inverse_root = nullptr;
    void (*leak)(const float* in, size_t count, float slope, float* out) = nullptr;  // x < 0 ? slope * x : x
    void (*clamp)(const float* in, size_t count, float low, float high, float* out) = nullptr;
    void (*scale)(float* values, size_t count, float factor) = nullptr;
    void (*raise)(const float* in, size_t count, float* out) = nullptr;    // out = max(out, in)
    void (*add_to)(const float* in, size_t count, float* sums) = nullptr;  // sums += in
    // out[c] = clamp((0 + taps[0][c] + taps[1][c] ...) * factor, low, high), in that order; `out` may be one of the
    // taps
    void (*average)(const float* const* taps, size_t num_taps, const AverageTerms& terms, size_t channels,
                    float* out) = nullptr;
    float (*sum)(const float* in, size_t count) = nullptr;
    float (*greatest)(const float* in, size_t count) = nullptr;  // of one or more
    // out = exp((in - greatest) * beta); gives their sum
    float (*exponentials)(const float* in, size_t count, float greatest, float beta, float* out) = nullptr;
    void (*pack_panels)(const float* from, const PanelSource& source, float* panels) = nullptr;
    void (*multiply_panels)(const PanelProduct& product, const float* a, const float* panels, float* out) = nullptr;
    // out[p, c] = clamp(bias[c] + the sum over t of taps[t][p, c] * weights[t, c], low, high)
    void (*multiply_taps)(const TapProduct& product, const int8_t* const* taps, const float* weights, const float* bias,
                          float* out) = nullptr;
    // out = (in - mean) / sqrt(variance + epsilon) * gamma + beta, of which the last two may be null
    void (*normalize)(const float* in, size_t count, float epsilon, const float* gamma, const float* beta,
                      float* out) = nullptr;
    // The same in parts: the sum of (in - mean)^2, and rows [columns] of which each has gamma and beta.
    float (*sum_squares)(const float* in, size_t count, float mean) = nullptr;
    void (*apply_norm)(const float* in, size_t rows, size_t columns, const NormTerms& terms, float* out) = nullptr;
  } floats;

  // What attention's two products of codes need besides. Codes are symmetric, real = scale * code, within -127 and 127;
  // a scale is NaN where a float is not finite, and 0 where all of them count as 0.
  struct Attention {
    // Rows [depth], `stride` apart, each with a scale, to rows that follow each other.
    void (*quantize_rows)(const float* from, int64_t stride, size_t rows, size_t depth, int8_t* codes,
                          float* scales) = nullptr;
    // The same of rows [columns], of which each column has a scale.
    void (*quantize_columns)(const float* from, int64_t stride, size_t rows, size_t columns, int8_t* codes,
                             float* scales) = nullptr;
    void (*to_floats)(const CodeSumTerms& terms, const int32_t* sums, size_t count, float* out) = nullptr;
    // out = round(255 * exp((in - greatest) * beta)) - 128, of kPanelColumns or several times as many, none of which is
    // greater; gives the sum of out + 128.
    int32_t (*weights)(const float* in, size_t count, float greatest, float beta, int8_t* out) = nullptr;
  } attention;
};

}  // namespace nq
