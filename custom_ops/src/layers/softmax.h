// SOFTMAX of int8 rows with the arithmetic of TFLite's own kernel on x86 (XNNPACK leaves int8 to it): in float, from a
// table of powers, summed in order. Its kernel for 64-bit ARM differs by a code now and then; this one is the same on
// every machine.
#pragma once

#include <array>
#include <cstdint>

#include "layers/quantization.h"

namespace nq {

class Softmax {
 public:
  Softmax(float input_scale, float beta, Quantization output);

  void run_row(const int8_t* in, int64_t count, int8_t* out) const;

 private:
  std::array<float, 256> powers_;  // of the distances to the greatest code
  Quantization output_;
};

}  // namespace nq
