// Compiled without ISA flags, so that it runs on every CPU.
#include <cstdlib>
#include <cstring>

#if defined(__aarch64__) || defined(__arm__)
#include <sys/auxv.h>
#endif

#include "kernels/cpu.h"
#include "kernels/kernels.h"

namespace nq {

#define NQ_UNPACK_KERNEL(isa, function, supported) \
  void function(const PackedLevels& levels, const CellMiddle& middle, size_t num_superblocks, int8_t* codes);
#include "kernels/unpack/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL

#define NQ_GEMM_KERNEL(kernel) extern const GemmKernel kernel;
#define NQ_GROUP_KERNEL(kernel) extern const GroupKernel kernel;
#define NQ_DEPTHWISE_KERNEL(kernel) extern const DepthwiseKernel kernel;
#define NQ_QUANTIZE_KERNEL(kernel) extern const QuantizeKernel kernel;
#define NQ_ADDITION_KERNEL(kernel) extern const AdditionKernel kernel;
#define NQ_ELEMENTWISE_KERNEL(kernel) extern const ElementwiseKernel kernel;
#define NQ_CHECKSUM_KERNEL(kernel) extern const ChecksumKernel kernel;
#include "kernels/addition/addition_kernels.h"
#include "kernels/checksum/checksum_kernels.h"
#include "kernels/depthwise/depthwise_kernels.h"
#include "kernels/elementwise/elementwise_kernels.h"
#include "kernels/gemm/gemm_kernels.h"
#include "kernels/groups/groups_kernels.h"
#include "kernels/quantize/quantize_kernels.h"
#undef NQ_GEMM_KERNEL
#undef NQ_GROUP_KERNEL
#undef NQ_DEPTHWISE_KERNEL
#undef NQ_QUANTIZE_KERNEL
#undef NQ_ADDITION_KERNEL
#undef NQ_ELEMENTWISE_KERNEL
#undef NQ_CHECKSUM_KERNEL

bool always() { return true; }

#if defined(__aarch64__)
bool has_neon() { return true; }

bool has_crc32() {
  constexpr unsigned long kCrc32 = 1ul << 7;  // HWCAP_CRC32
  return (getauxval(AT_HWCAP) & kCrc32) != 0;
}

bool has_neondotprod() {
  constexpr unsigned long kDotProducts = 1ul << 20;  // HWCAP_ASIMDDP, which headers older than Linux 4.15 lack
  return (getauxval(AT_HWCAP) & kDotProducts) != 0;
}

bool has_neoni8mm() {
  constexpr unsigned long kSecondWord = 26, kMatrixProducts = 1ul << 13;  // AT_HWCAP2, HWCAP2_I8MM, of Linux 5.6
  return has_neondotprod() && (getauxval(kSecondWord) & kMatrixProducts) != 0;
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

// Unpack kernels are functions, which other kernels call; their records are made here.
#define NQ_UNPACK_KERNEL(isa, function, supported) \
  constexpr UnpackKernel function##_kernel = {isa, supported, function};
#include "kernels/unpack/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL

template <typename Kernel>
struct List;

template <>
struct List<UnpackKernel> {
  static constexpr const UnpackKernel* kernels[] = {
#define NQ_UNPACK_KERNEL(isa, function, supported) &function##_kernel,
#include "kernels/unpack/unpack_kernels.h"
#undef NQ_UNPACK_KERNEL
  };
};

template <>
struct List<GemmKernel> {
  static constexpr const GemmKernel* kernels[] = {
#define NQ_GEMM_KERNEL(kernel) &kernel,
#include "kernels/gemm/gemm_kernels.h"
#undef NQ_GEMM_KERNEL
  };
};

template <>
struct List<GroupKernel> {
  static constexpr const GroupKernel* kernels[] = {
#define NQ_GROUP_KERNEL(kernel) &kernel,
#include "kernels/groups/groups_kernels.h"
#undef NQ_GROUP_KERNEL
  };
};

template <>
struct List<DepthwiseKernel> {
  static constexpr const DepthwiseKernel* kernels[] = {
#define NQ_DEPTHWISE_KERNEL(kernel) &kernel,
#include "kernels/depthwise/depthwise_kernels.h"
#undef NQ_DEPTHWISE_KERNEL
  };
};

template <>
struct List<QuantizeKernel> {
  static constexpr const QuantizeKernel* kernels[] = {
#define NQ_QUANTIZE_KERNEL(kernel) &kernel,
#include "kernels/quantize/quantize_kernels.h"
#undef NQ_QUANTIZE_KERNEL
  };
};

template <>
struct List<AdditionKernel> {
  static constexpr const AdditionKernel* kernels[] = {
#define NQ_ADDITION_KERNEL(kernel) &kernel,
#include "kernels/addition/addition_kernels.h"
#undef NQ_ADDITION_KERNEL
  };
};

template <>
struct List<ElementwiseKernel> {
  static constexpr const ElementwiseKernel* kernels[] = {
#define NQ_ELEMENTWISE_KERNEL(kernel) &kernel,
#include "kernels/elementwise/elementwise_kernels.h"
#undef NQ_ELEMENTWISE_KERNEL
  };
};

template <>
struct List<ChecksumKernel> {
  static constexpr const ChecksumKernel* kernels[] = {
#define NQ_CHECKSUM_KERNEL(kernel) &kernel,
#include "kernels/checksum/checksum_kernels.h"
#undef NQ_CHECKSUM_KERNEL
  };
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

}  // namespace

template <typename Kernel>
KernelList<Kernel> kernels_of() {
  return {List<Kernel>::kernels, std::size(List<Kernel>::kernels)};
}

template <typename Kernel>
Status select_kernel(const char* name, const Kernel** chosen) {
  const bool any = name == nullptr || *name == '\0';
  const Isa* limit = any ? std::end(kIsas) - 1 : find_isa(name);
  if (limit == nullptr || (!any && !limit->supported())) {
    return error(NQ_INVALID_ARGUMENT,
                 "NQ_ISA=%s is not an instruction set of this library on this CPU; expected one of %s", name,
                 supported_isas().c_str());
  }
  for (const Kernel* kernel : kernels_of<Kernel>()) {
    if (find_isa(kernel->isa) <= limit && kernel->supported()) *chosen = kernel;
  }
  return {};
}

#define NQ_KIND(Kernel)                     \
  template KernelList<Kernel> kernels_of(); \
  template Status select_kernel(const char* name, const Kernel** chosen);
NQ_KIND(GemmKernel)
NQ_KIND(GroupKernel)
NQ_KIND(DepthwiseKernel)
NQ_KIND(UnpackKernel)
NQ_KIND(QuantizeKernel)
NQ_KIND(AdditionKernel)
NQ_KIND(ElementwiseKernel)
NQ_KIND(ChecksumKernel)
#undef NQ_KIND

Status select_kernels(const char* isa, Kernels* kernels) {
  const auto select_all = [isa](auto*... chosen) {
    Status status;
    const bool ok = ((status = select_kernel(isa, chosen)).ok() && ...);
    static_cast<void>(ok);
    return status;
  };
  return select_all(&kernels->gemm, &kernels->groups, &kernels->depthwise, &kernels->unpack, &kernels->quantize,
                    &kernels->addition, &kernels->elementwise, &kernels->checksum);
}

Status select_kernels(Kernels* kernels) { return select_kernels(std::getenv("NQ_ISA"), kernels); }

}  // namespace nq
