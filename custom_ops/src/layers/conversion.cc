#include "layers/conversion.h"

namespace nq {

void quantize(const ElementwiseKernel& kernel, const float* in, int64_t count, Quantization quantization, int8_t* out) {
  const float inverse = 1.0f / quantization.scale;  // a product and a quotient can round to different codes
  kernel.quantize(in, static_cast<size_t>(count), inverse, quantization.zero_point, out);
}

void dequantize(const ElementwiseKernel& kernel, const int8_t* in, int64_t count, Quantization quantization,
                float* out) {
  kernel.dequantize(in, static_cast<size_t>(count), quantization.scale, quantization.zero_point, out);
}

}  // namespace nq
