// Textual: NQ_QUANTIZE_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_QUANTIZE_KERNEL(quantize_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_QUANTIZE_KERNEL(quantize_avx2)
NQ_QUANTIZE_KERNEL(quantize_avx512vnni)
#endif
#if defined(__aarch64__)
NQ_QUANTIZE_KERNEL(quantize_neon)
#endif
