#include "layers/softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nq {

Softmax::Softmax(float input_scale, float beta, Quantization output) : output_(output) {
  const float scale = -input_scale * beta;
  for (size_t distance = 0; distance < powers_.size(); ++distance) {
    powers_[distance] = std::exp(scale * static_cast<float>(distance));
  }
}

void Softmax::run_row(const int8_t* in, int64_t count, int8_t* out) const {
  const int greatest = *std::max_element(in, in + count);
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += powers_[static_cast<size_t>(greatest - in[i])];
  const float factor = std::min(1.0f / (sum * output_.scale), std::numeric_limits<float>::max());
  for (int64_t i = 0; i < count; ++i) {
    const float scaled = std::min(powers_[static_cast<size_t>(greatest - in[i])] * factor, 65536.0f);
    out[i] = clamp_to_int8(static_cast<int32_t>(std::round(scaled)) + output_.zero_point);
  }
}

}  // namespace nq
