// What an x86 CPU has, asked of the CPU itself. Compiled without ISA flags.
//
// Not by __builtin_cpu_supports: it reads a table of the compiler's runtime library, and zig's, which the wheels are
// built with, leaves that table empty without a word.
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>

#include <cstdint>

#include "kernels/cpu.h"

namespace nq {
namespace {

// XCR0: the registers that the operating system saves.
constexpr uint64_t kYmm = 0x06, kZmm = 0xE6;
// Leaf 1, ECX.
constexpr unsigned kPclmulqdq = 1u << 1, kFma = 1u << 12, kXgetbv = 1u << 27;
// Leaf 7, EBX and ECX.
constexpr unsigned kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 30 | 1u << 31;  // F, BW, VL
constexpr unsigned kVpclmulqdq = 1u << 10, kVnni = 1u << 11;
// Leaf 7.1, EAX.
constexpr unsigned kAvxVnni = 1u << 4;

bool os_saves(uint64_t registers) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kXgetbv) == 0) return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));  // the intrinsic wants a flag
  return ((uint64_t{high} << 32 | low) & registers) == registers;
}

bool first_leaf_has(unsigned wanted_c) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & wanted_c) == wanted_c;
}

bool cpu_has(unsigned wanted_b, unsigned wanted_c) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & wanted_b) == wanted_b && (c & wanted_c) == wanted_c;
}

bool second_leaf_has(unsigned wanted_a) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || a < 1) return false;  // a is the number of the last
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & wanted_a) == wanted_a;
}

}  // namespace

bool has_pclmulqdq() {
  static const bool found = first_leaf_has(kPclmulqdq);
  return found;
}

bool has_avx2() {
  static const bool found = os_saves(kYmm) && cpu_has(kAvx2, 0);
  return found;
}

bool has_avx2fma() {
  static const bool found = has_avx2() && first_leaf_has(kFma);
  return found;
}

bool has_avxvnni() {
  static const bool found = has_avx2() && second_leaf_has(kAvxVnni);
  return found;
}

bool has_avx512vnni() {
  static const bool found = os_saves(kZmm) && cpu_has(kAvx2 | kAvx512, kVnni);
  return found;
}

bool has_avx512vpclmulqdq() {
  static const bool found = has_avx512vnni() && has_pclmulqdq() && cpu_has(0, kVpclmulqdq);
  return found;
}

}  // namespace nq
#endif
