// By tables, eight bytes at a time.
#include "format/crc32.h"
#include "kernels/checksum/checksum.h"
#include "kernels/cpu.h"

namespace nq {

extern const ChecksumKernel checksum_scalar;
const ChecksumKernel checksum_scalar = {"scalar", always, crc32};

}  // namespace nq
