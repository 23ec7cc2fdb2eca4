// Another kernel for the products of codes alone.
#if defined(__ARM_FEATURE_DOTPROD)
#include "kernels/elementwise/elementwise_neon.h"

namespace nq {

extern const ElementwiseKernel elementwise_neondotprod;
constexpr ElementwiseKernel elementwise_neondotprod = elementwise_kernel("neondotprod", has_neondotprod);

}  // namespace nq
#endif
