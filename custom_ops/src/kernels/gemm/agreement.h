#pragma once

#include "kernels/gemm/gemm.h"

namespace nq {

// Whether a matrix kernel multiplies one small matrix as the scalar kernel does. For kernels that take rows of int8
// as they are: nothing prepared, no sum_offset.
bool agrees_with_scalar(const GemmKernel& kernel);

}  // namespace nq
