#include "kernels/addition/add_scalar.h"
#include "kernels/addition/addition.h"
#include "kernels/cpu.h"

namespace nq {

extern const AdditionKernel addition_scalar;

namespace {

void add(const AdditionTerms& terms, const int8_t* a, const int8_t* b, size_t count, int8_t* out) {
  for (size_t i = 0; i < count; ++i) out[i] = add_scalar(terms, a[i], b[i]);
}

}  // namespace

constexpr AdditionKernel addition_scalar = [] {
  AdditionKernel kernel;
  kernel.isa = "scalar";
  kernel.supported = always;
  kernel.add = add;
  return kernel;
}();

}  // namespace nq
