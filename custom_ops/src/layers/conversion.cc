#include "layers/conversion.h"

namespace nq {

void quantize(const float* in, int64_t count, Quantization quantization, int8_t* out) {
  const float inverse = 1.0f / quantization.scale;  // a product and a quotient can round to different codes
  const int32_t zero = quantization.zero_point;
  for (int64_t i = 0; i < count; ++i) out[i] = clamp_to_int8(round_to_int16(in[i] * inverse) + zero);
}

void dequantize(const int8_t* in, int64_t count, Quantization quantization, float* out) {
  const float scale = quantization.scale;
  const int32_t zero = quantization.zero_point;
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(in[i] - zero) * scale;
}

}  // namespace nq
