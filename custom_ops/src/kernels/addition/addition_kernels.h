// Textual: NQ_ADDITION_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_ADDITION_KERNEL(addition_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_ADDITION_KERNEL(addition_avx2)
NQ_ADDITION_KERNEL(addition_avx512vnni)
#endif
#if defined(NQ_NEON)
NQ_ADDITION_KERNEL(addition_neon)
#endif
