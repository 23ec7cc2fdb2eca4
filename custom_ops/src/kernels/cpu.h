// What the CPU that runs this has. Compiled without ISA flags.
#pragma once

namespace nq {

bool always();
#if defined(__x86_64__) || defined(__i386__)
bool has_pclmulqdq();
bool has_avx2();
bool has_avx2fma();  // every CPU with AVX2 but a few of VIA's
bool has_avxvnni();
bool has_avx512vnni();
bool has_avx512vpclmulqdq();
bool has_amx();  // asks the operating system for permission, and tries the kernel
#endif
#if defined(__aarch64__) || defined(__arm__)
bool has_neon();
#endif
#if defined(__aarch64__)
bool has_crc32();
bool has_neondotprod();
bool has_neoni8mm();
#endif

}  // namespace nq
