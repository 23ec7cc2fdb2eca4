// Float activations to int8 at run time, asymmetric, each row, image or group in its own way: what XNNPACK calls qd8.
//
// ISA "scalar" is the specification; every other kernel gives the same bytes. quantize_kernels.h lists them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"
#include "status.h"

namespace nq {

// Of some floats and 0. Both are NaN if one of the floats is.
struct FloatRange {
  float min, max;
};

FloatRange join(FloatRange a, FloatRange b);

// real = scale * (code - zero_point). For floats whose range is not finite scale is NaN, and so is all that is computed
// with it; floats too close to 0 for their inverse scale count as 0.
struct ActivationQuantization {
  float scale, inverse_scale;
  int32_t zero_point;
};

ActivationQuantization quantization_of(FloatRange range);

struct QuantizeKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  FloatRange (*find_range)(const float* in, size_t count) = nullptr;
  // out = clamp(round_half_even(in * inverse_scale) + zero_point, -128, 127), of floats within the range
  void (*quantize)(const float* in, size_t count, float inverse_scale, int32_t zero_point, int8_t* out) = nullptr;
};

// Any floats of a range that the quantization was made of.
void quantize(const QuantizeKernel& kernel, const float* in, size_t count, const ActivationQuantization& quantization,
              int8_t* out);

// A group by itself (FORMAT.md, section 4.6). The scale is NaN if the floats' range is not finite, and 0, with all
// codes, if they are so close to 0 that they count as 0.
ActivationQuantization quantize_group(const QuantizeKernel& kernel, const float* in, size_t count, int8_t* out);

}  // namespace nq
