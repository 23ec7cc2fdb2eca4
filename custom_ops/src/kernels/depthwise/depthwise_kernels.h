// Textual: NQ_DEPTHWISE_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_DEPTHWISE_KERNEL(depthwise_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_DEPTHWISE_KERNEL(depthwise_avx2)
NQ_DEPTHWISE_KERNEL(depthwise_avx512vnni)
#endif
#if defined(NQ_NEON)
NQ_DEPTHWISE_KERNEL(depthwise_neon)
#endif
#if defined(NQ_NEONDOTPROD)
NQ_DEPTHWISE_KERNEL(depthwise_neondotprod)
#endif
