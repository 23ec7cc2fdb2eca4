// Hides AVX-512, AVX-VNNI and AMX from a process, so that libraries that choose kernels by CPUID take AVX2:
//   gcc -O2 -shared -fPIC -o hide_avx512.so hide_avx512.c && LD_PRELOAD=$PWD/hide_avx512.so COMMAND
//
// The instruction traps (Linux on Intel, cpuid_fault in /proc/cpuinfo), and a handler answers it. Children inherit
// neither the trap nor the handler across exec, but LD_PRELOAD. glibc has chosen its functions before.
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

enum { kSetCpuid = 0x1012 };  // ARCH_SET_CPUID

static long let_cpuid(int works) { return syscall(SYS_arch_prctl, kSetCpuid, works); }

static void without(unsigned* word, const int* bits, int count) {
  for (int i = 0; i < count; ++i) *word &= ~(1u << bits[i]);
}

static void answer(int signal_number, siginfo_t* info, void* context) {
  (void)info;
  greg_t* registers = ((ucontext_t*)context)->uc_mcontext.gregs;
  const unsigned char* code = (const unsigned char*)registers[REG_RIP];
  if (code[0] != 0x0F || code[1] != 0xA2) {  // another fault
    signal(signal_number, SIG_DFL);
    return;
  }
  const unsigned leaf = (unsigned)registers[REG_RAX], part = (unsigned)registers[REG_RCX];
  unsigned a, b, c, d;
  let_cpuid(1);
  __cpuid_count(leaf, part, a, b, c, d);
  let_cpuid(0);
  if (leaf == 7 && part == 0) {
    const int of_b[] = {16, 17, 21, 26, 27, 28, 30, 31}, of_c[] = {1, 6, 11, 12, 14},
              of_d[] = {2, 3, 8, 22, 23, 24, 25};
    without(&b, of_b, 8);
    without(&c, of_c, 5);
    without(&d, of_d, 7);
  } else if (leaf == 7 && part == 1) {
    const int of_a[] = {4, 5, 23};
    without(&a, of_a, 3);
    d = 0;
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void hide(void) {
  struct sigaction action = {0};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (sigaction(SIGSEGV, &action, NULL) == 0 && let_cpuid(0) == 0) return;
  perror("hide_avx512: this CPU or kernel cannot trap cpuid");
  exit(1);
}
