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

struct MatrixSizes {
  size_t rows, depth, columns;
};

// Pixels that follow each other in the output; in the input, each lies `step` codes behind the one before.
struct PooledRow {
  size_t pixels, step, channels;
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

  struct Floats {
    // clamp(a + b, low, high), and so on
    using Binary = void (*)(const FloatOperands& operands, float low, float high, size_t count, float* out);
    Binary add = nullptr, subtract = nullptr, multiply = nullptr, divide = nullptr, difference_squared = nullptr;
    Binary greater = nullptr, lesser = nullptr;
    using Unary = void (*)(const float* in, size_t count, float* out);
    Unary logistic = nullptr, tanh = nullptr, elu = nullptr, hard_swish = nullptr, gelu = nullptr;
    Unary gelu_by_tanh = nullptr;  // the approximation that many nets are trained with
    Unary negate = nullptr, square = nullptr, root = nullptr, inverse_root = nullptr;
    void (*leak)(const float* in, size_t count, float slope, float* out) = nullptr;  // x < 0 ? slope * x : x
    void (*clamp)(const float* in, size_t count, float low, float high, float* out) = nullptr;
    void (*scale)(float* values, size_t count, float factor) = nullptr;
    void (*raise)(const float* in, size_t count, float* out) = nullptr;    // out = max(out, in)
    void (*add_to)(const float* in, size_t count, float* sums) = nullptr;  // sums += in
    float (*sum)(const float* in, size_t count) = nullptr;
    float (*greatest)(const float* in, size_t count) = nullptr;  // of one or more
    // out = exp((in - greatest) * beta); gives their sum
    float (*exponentials)(const float* in, size_t count, float greatest, float beta, float* out) = nullptr;
    // out [rows, columns] = a [rows, depth] b [depth, columns]; or b [columns, depth], whose rows are b's columns
    void (*multiply_matrices)(const float* a, const float* b, const MatrixSizes& sizes, float* out) = nullptr;
    void (*multiply_by_rows)(const float* a, const float* b, const MatrixSizes& sizes, float* out) = nullptr;
  } floats;
};

}  // namespace nq
