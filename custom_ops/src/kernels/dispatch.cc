// Compiled without ISA flags, so that it runs on every CPU.
#include <cstdlib>
#include <cstring>

#include "kernels/unpack.h"

namespace nq {

#define NQ_UNPACK_KERNEL(isa, function, supported) \
  void function(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
#include "kernels/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL

namespace {

bool always() { return true; }

#if defined(__x86_64__) || defined(__i386__)
bool has_avx2() { return __builtin_cpu_supports("avx2"); }
#endif

constexpr UnpackKernel kKernels[] = {
#define NQ_UNPACK_KERNEL(isa, function, supported) {isa, supported, function},
#include "kernels/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL
};

std::string supported_isas() {
  std::string names;
  for (const UnpackKernel& kernel : kKernels) {
    if (kernel.supported()) names += (names.empty() ? "" : ", ") + std::string(kernel.isa);
  }
  return names;
}

}  // namespace

UnpackKernels unpack_kernels() { return {kKernels, sizeof(kKernels) / sizeof(kKernels[0])}; }

Status select_unpack_kernel(const char* isa, const UnpackKernel** kernel) {
  const bool any = isa == nullptr || *isa == '\0';
  const UnpackKernel* chosen = nullptr;
  for (const UnpackKernel& candidate : kKernels) {
    if ((any || std::strcmp(candidate.isa, isa) == 0) && candidate.supported()) chosen = &candidate;
  }
  if (chosen == nullptr) {
    return error(NQ_INVALID_ARGUMENT,
                 "NQ_ISA=%s is not an instruction set of this library on this CPU; expected one of %s", isa,
                 supported_isas().c_str());
  }
  *kernel = chosen;
  return {};
}

Status select_unpack_kernel(const UnpackKernel** kernel) { return select_unpack_kernel(std::getenv("NQ_ISA"), kernel); }

}  // namespace nq
