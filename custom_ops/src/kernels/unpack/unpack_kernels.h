// Textual: NQ_UNPACK_KERNEL(isa, function, supported): slowest first; dispatch takes the last one that the CPU
// supports.
NQ_UNPACK_KERNEL("scalar", unpack_reference, always)
#if defined(__SSE2__)
NQ_UNPACK_KERNEL("sse2", unpack_base, always)
#else
NQ_UNPACK_KERNEL("generic", unpack_base, always)
#endif
#if defined(__x86_64__) || defined(__i386__)
NQ_UNPACK_KERNEL("avx2", unpack_avx2, has_avx2)
NQ_UNPACK_KERNEL("avx512vnni", unpack_avx512vnni, has_avx512vnni)
#endif
#if defined(NQ_NEON)
NQ_UNPACK_KERNEL("neon", unpack_neon, has_neon)
#endif
