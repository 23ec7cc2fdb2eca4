// What a delegate computes with: one kernel of each kind.
#pragma once

#include "kernels/addition/addition.h"
#include "kernels/checksum/checksum.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/elementwise/elementwise.h"
#include "kernels/gemm/gemm.h"
#include "kernels/groups/groups.h"
#include "kernels/quantize/quantize.h"
#include "kernels/unpack/unpack.h"

namespace nq {

struct Kernels {
  const GemmKernel* gemm = nullptr;
  const GroupKernel* groups = nullptr;
  const DepthwiseKernel* depthwise = nullptr;
  const UnpackKernel* unpack = nullptr;
  const QuantizeKernel* quantize = nullptr;
  const AdditionKernel* addition = nullptr;
  const ElementwiseKernel* elementwise = nullptr;
  const ChecksumKernel* checksum = nullptr;
};

// As select_kernel, of every kind.
Status select_kernels(const char* isa, Kernels* kernels);

// Those that the environment variable NQ_ISA asks for.
Status select_kernels(Kernels* kernels);

}  // namespace nq
