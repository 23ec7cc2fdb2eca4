// Kernels of one kind, and which of them runs. Kernel is GemmKernel, GroupKernel, DepthwiseKernel, UnpackKernel,
// QuantizeKernel, AdditionKernel, ElementwiseKernel or ChecksumKernel; each has `isa` and `supported`.
#pragma once

#include <cstddef>

#include "status.h"

namespace nq {

template <typename Kernel>
struct KernelList {
  const Kernel* const* first;
  size_t count;
  const Kernel* const* begin() const { return first; }
  const Kernel* const* end() const { return first + count; }
};

// Every kernel of the kind in this build, slowest first.
template <typename Kernel>
KernelList<Kernel> kernels_of();

// The fastest supported kernel at or below the ISA named `isa`, or of all if that is null or empty.
template <typename Kernel>
Status select_kernel(const char* isa, const Kernel** kernel);

}  // namespace nq
