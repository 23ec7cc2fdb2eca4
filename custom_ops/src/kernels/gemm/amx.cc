// Whether AMX can be used. Compiled without ISA flags.
#if defined(NQ_AMX)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu.h"
#include "kernels/gemm/agreement.h"

namespace nq {

extern const GemmKernel gemm_amx;

namespace {

constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
constexpr long kTileData = 18;               // XFEATURE_XTILEDATA

// Palette 1: at least 8 tiles of 16 rows of 64 bytes.
bool cpu_has_int8_tiles() {
  constexpr unsigned kTile = 1u << 24, kInt8 = 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  if (__get_cpuid_count(0x1D, 1, &a, &b, &c, &d) == 0) return false;
  const unsigned row_bytes = b & 0xFFFF, num_tiles = b >> 16, num_rows = c & 0xFFFF;
  return row_bytes >= 64 && num_tiles >= 8 && num_rows >= 16;
}

// Linux saves tiles only for processes that have asked, and does not know the question before 5.16. The answer holds
// for every thread.
bool os_permits_tiles() { return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0; }

}  // namespace

// The comparison is there because the kernel has been developed without a CPU to run it on: where it should be wrong,
// the next best kernel runs.
bool has_amx() {
  static const bool usable =
      has_avx512vnni() && cpu_has_int8_tiles() && os_permits_tiles() && agrees_with_scalar(gemm_amx);
  return usable;
}

}  // namespace nq
#endif
