// Textual: NQ_GROUP_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_GROUP_KERNEL(groups_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_GROUP_KERNEL(groups_avx2)
NQ_GROUP_KERNEL(groups_avx512vnni)
#endif
#if defined(NQ_NEON)
NQ_GROUP_KERNEL(groups_neon)
#endif
#if defined(NQ_NEONDOTPROD)
NQ_GROUP_KERNEL(groups_neondotprod)
#endif
