#include "kernels/elementwise/elementwise_loops.h"

namespace nq {

extern const ElementwiseKernel elementwise_base;

namespace {

void multiply(const MultiplicationTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = multiply_codes(terms, a[i], b[i]);
}

void multiply_by(const MultiplicationTerms& terms, const int8_t* a, int8_t b, size_t count, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = multiply_codes(terms, a[i], b);
}

void quantize(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = quantize_float(in[i], inverse_scale, zero_point);
}

void look_up(const int8_t* table, const int8_t* in, size_t count, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = look_up_code(table, in[i]);
}

}  // namespace

constexpr ElementwiseKernel elementwise_base = elementwise_kernel("scalar", always);

}  // namespace nq
