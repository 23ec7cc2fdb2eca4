// Textual: NQ_GEMM_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_GEMM_KERNEL(gemm_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_GEMM_KERNEL(gemm_avx2)
#if defined(NQ_AVXVNNI)
NQ_GEMM_KERNEL(gemm_avxvnni)
#endif
NQ_GEMM_KERNEL(gemm_avx512vnni)
#endif
#if defined(NQ_AMX)
NQ_GEMM_KERNEL(gemm_amx)
#endif
#if defined(NQ_NEON)
NQ_GEMM_KERNEL(gemm_neon)
#endif
#if defined(NQ_NEONDOTPROD)
NQ_GEMM_KERNEL(gemm_neondotprod)
#endif
#if defined(NQ_NEONI8MM)
NQ_GEMM_KERNEL(gemm_neoni8mm)
#endif
