// For 64-bit Arm alone: 32-bit NEON does not keep subnormals.
#if defined(__aarch64__)
#include "kernels/elementwise/elementwise_neon.h"

namespace nq {

extern const ElementwiseKernel elementwise_neon;
constexpr ElementwiseKernel elementwise_neon = elementwise_kernel("neon", has_neon);

}  // namespace nq
#endif
