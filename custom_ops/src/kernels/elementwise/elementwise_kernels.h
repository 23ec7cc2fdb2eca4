// Textual: NQ_ELEMENTWISE_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_ELEMENTWISE_KERNEL(elementwise_base)
#if defined(__x86_64__) || defined(__i386__)
NQ_ELEMENTWISE_KERNEL(elementwise_avx2)
NQ_ELEMENTWISE_KERNEL(elementwise_avx512vnni)
#endif
#if defined(__aarch64__)
NQ_ELEMENTWISE_KERNEL(elementwise_neon)
#endif
#if defined(NQ_NEONDOTPROD)
NQ_ELEMENTWISE_KERNEL(elementwise_neondotprod)
#endif
