// Compiled without ISA flags, so that it runs on every CPU.
#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

#include "kernels/addition/addition.h"
#include "kernels/cpu.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/quantize/quantize.h"
#include "kernels/unpack/unpack.h"

namespace nq {

#define NQ_UNPACK_KERNEL(isa, function, supported) \
  void function(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
#include "kernels/unpack/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL

#define NQ_GEMM_KERNEL(kernel) extern const GemmKernel kernel;
#include "kernels/gemm/gemm_kernels.h"
#undef NQ_GEMM_KERNEL

#define NQ_DEPTHWISE_KERNEL(kernel) extern const DepthwiseKernel kernel;
#include "kernels/depthwise/depthwise_kernels.h"
#undef NQ_DEPTHWISE_KERNEL

#define NQ_QUANTIZE_KERNEL(kernel) extern const QuantizeKernel kernel;
#include "kernels/quantize/quantize_kernels.h"
#undef NQ_QUANTIZE_KERNEL

#define NQ_ADDITION_KERNEL(kernel) extern const AdditionKernel kernel;
#include "kernels/addition/addition_kernels.h"
#undef NQ_ADDITION_KERNEL

#define NQ_ELEMENTWISE_KERNEL(kernel) extern const ElementwiseKernel kernel;
#include "kernels/elementwise/elementwise_kernels.h"
#undef NQ_ELEMENTWISE_KERNEL

bool always() { return true; }

#if defined(__aarch64__)
bool has_neon() { return true; }

bool has_neondotprod() {
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP, which headers older than Linux 4.15 lack
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
}
#elif defined(__arm__)
bool has_neon() {
  constexpr unsigned long kNeon = 1ul << 12;  // HWCAP_NEON
  return (getauxval(AT_HWCAP) & kNeon) != 0;
}
#endif

namespace {

struct Isa {
  const char* name;
  bool (*supported)();
};

constexpr Isa kIsas[] = {
#define NQ_ISA(name, supported) {name, supported},
#include "kernels/isas.h"
#undef NQ_ISA
};

constexpr UnpackKernel kUnpackKernels[] = {
#define NQ_UNPACK_KERNEL(isa, function, supported) {isa, supported, function},
#include "kernels/unpack/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL
};

constexpr const GemmKernel* kGemmKernels[] = {
#define NQ_GEMM_KERNEL(kernel) &kernel,
#include "kernels/gemm/gemm_kernels.h"
#undef NQ_GEMM_KERNEL
};

constexpr const DepthwiseKernel* kDepthwiseKernels[] = {
#define NQ_DEPTHWISE_KERNEL(kernel) &kernel,
#include "kernels/depthwise/depthwise_kernels.h"
#undef NQ_DEPTHWISE_KERNEL
};

constexpr const QuantizeKernel* kQuantizeKernels[] = {
#define NQ_QUANTIZE_KERNEL(kernel) &kernel,
#include "kernels/quantize/quantize_kernels.h"
#undef NQ_QUANTIZE_KERNEL
};

constexpr const AdditionKernel* kAdditionKernels[] = {
#define NQ_ADDITION_KERNEL(kernel) &kernel,
#include "kernels/addition/addition_kernels.h"
#undef NQ_ADDITION_KERNEL
};

constexpr const ElementwiseKernel* kElementwiseKernels[] = {
#define NQ_ELEMENTWISE_KERNEL(kernel) &kernel,
#include "kernels/elementwise/elementwise_kernels.h"
#undef NQ_ELEMENTWISE_KERNEL
};

const Isa* find_isa(const char* name) {
  for (const Isa& isa : kIsas) {
    if (std::strcmp(isa.name, name) == 0) return &isa;
  }
  return nullptr;
}

std::string supported_isas() {
  std::string names;
  for (const Isa& isa : kIsas) {
    if (isa.supported()) names += (names.empty() ? "" : ", ") + std::string(isa.name);
  }
  return names;
}

const UnpackKernel& deref(const UnpackKernel& kernel) { return kernel; }
template <typename Kernel>
const Kernel& deref(const Kernel* kernel) {
  return *kernel;
}

// The last of `kernels` that the CPU supports and whose ISA is not above the one named.
template <typename Kernels, typename Kernel>
Status select(const Kernels& kernels, const char* name, const Kernel** chosen) {
  const bool any = name == nullptr || *name == '\0';
  const Isa* limit = any ? std::end(kIsas) - 1 : find_isa(name);
  if (limit == nullptr || (!any && !limit->supported())) {
    return error(NQ_INVALID_ARGUMENT,
                 "NQ_ISA=%s is not an instruction set of this library on this CPU; expected one of %s", name,
                 supported_isas().c_str());
  }
  for (const auto& entry : kernels) {
    const Kernel& kernel = deref(entry);
    if (find_isa(kernel.isa) <= limit && kernel.supported()) *chosen = &kernel;
  }
  return {};
}

const char* wanted_isa() { return std::getenv("NQ_ISA"); }

}  // namespace

UnpackKernels unpack_kernels() { return {kUnpackKernels, std::size(kUnpackKernels)}; }
KernelList<GemmKernel> gemm_kernels() { return {kGemmKernels, std::size(kGemmKernels)}; }
KernelList<DepthwiseKernel> depthwise_kernels() { return {kDepthwiseKernels, std::size(kDepthwiseKernels)}; }
KernelList<QuantizeKernel> quantize_kernels() { return {kQuantizeKernels, std::size(kQuantizeKernels)}; }
KernelList<AdditionKernel> addition_kernels() { return {kAdditionKernels, std::size(kAdditionKernels)}; }

Status select_unpack_kernel(const char* isa, const UnpackKernel** kernel) {
  return select(kUnpackKernels, isa, kernel);
}
Status select_gemm_kernel(const char* isa, const GemmKernel** kernel) { return select(kGemmKernels, isa, kernel); }
Status select_depthwise_kernel(const char* isa, const DepthwiseKernel** kernel) {
  return select(kDepthwiseKernels, isa, kernel);
}
Status select_quantize_kernel(const char* isa, const QuantizeKernel** kernel) {
  return select(kQuantizeKernels, isa, kernel);
}
Status select_addition_kernel(const char* isa, const AdditionKernel** kernel) {
  return select(kAdditionKernels, isa, kernel);
}

Status select_unpack_kernel(const UnpackKernel** kernel) { return select_unpack_kernel(wanted_isa(), kernel); }
Status select_gemm_kernel(const GemmKernel** kernel) { return select_gemm_kernel(wanted_isa(), kernel); }
Status select_depthwise_kernel(const DepthwiseKernel** kernel) { return select_depthwise_kernel(wanted_isa(), kernel); }
Status select_quantize_kernel(const QuantizeKernel** kernel) { return select_quantize_kernel(wanted_isa(), kernel); }
Status select_addition_kernel(const AdditionKernel** kernel) { return select_addition_kernel(wanted_isa(), kernel); }

KernelList<ElementwiseKernel> elementwise_kernels() { return {kElementwiseKernels, std::size(kElementwiseKernels)}; }

const ElementwiseKernel& elementwise_kernel() {
  const ElementwiseKernel* kernel = kElementwiseKernels[0];
  static_cast<void>(select(kElementwiseKernels, wanted_isa(), &kernel));
  return *kernel;
}

}  // namespace nq
