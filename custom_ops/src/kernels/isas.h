// Textual: NQ_ISA(name, supported): every name that the environment variable NQ_ISA takes, slowest first. One name
// selects the kernels of every kind: of each, the fastest one at or below it.
//
// A name is the newest extension that the kernels need, in lower case and without punctuation, after the vectors it
// works on where it does not name them itself: avx2, avx512vnni, neondotprod. Kernels take it into theirs: gemm_neon is
// the kernel of kind "gemm" for "neon", alone in gemm_neon.cc, and that file alone is compiled for it.
NQ_ISA("scalar", always)
#if defined(__SSE2__)
NQ_ISA("sse2", always)
#else
NQ_ISA("generic", always)
#endif
#if defined(__x86_64__) || defined(__i386__)
NQ_ISA("pclmulqdq", has_pclmulqdq)
NQ_ISA("avx2", has_avx2)
#if defined(NQ_AVXVNNI)
NQ_ISA("avxvnni", has_avxvnni)
#endif
NQ_ISA("avx512vnni", has_avx512vnni)
NQ_ISA("avx512vpclmulqdq", has_avx512vpclmulqdq)
#endif
#if defined(NQ_AMX)
NQ_ISA("amx", has_amx)
#endif
#if defined(NQ_NEON)
NQ_ISA("neon", has_neon)
#endif
#if defined(NQ_CRC32)
NQ_ISA("crc32", has_crc32)
#endif
#if defined(NQ_NEONDOTPROD)
NQ_ISA("neondotprod", has_neondotprod)
#endif
#if defined(NQ_NEONI8MM)
NQ_ISA("neoni8mm", has_neoni8mm)
#endif
