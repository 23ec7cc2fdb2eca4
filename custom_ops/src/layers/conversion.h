// QUANTIZE of float32 and DEQUANTIZE to it, with XNNPACK's arithmetic.
#pragma once

#include <cstdint>

#include "kernels/elementwise/elementwise.h"
#include "layers/quantization.h"

namespace nq {

void quantize(const ElementwiseKernel& kernel, const float* in, int64_t count, Quantization quantization, int8_t* out);
void dequantize(const ElementwiseKernel& kernel, const int8_t* in, int64_t count, Quantization quantization,
                float* out);

}  // namespace nq
