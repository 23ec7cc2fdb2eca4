// Textual: NQ_ISA(name, supported): every name that the environment variable NQ_ISA takes, slowest first. One name
// selects the kernels of every kind: of each, the fastest one at or below it.
NQ_ISA("scalar", always)
#if defined(__SSE2__)
NQ_ISA("sse2", always)
#elif defined(__ARM_NEON)
NQ_ISA("neon", always)
#else
NQ_ISA("generic", always)
#endif
#if defined(__x86_64__) || defined(__i386__)
NQ_ISA("avx2", has_avx2)
NQ_ISA("avx512vnni", has_avx512vnni)
#endif
#if defined(NQ_AMX)
NQ_ISA("amx", has_amx)
#endif
