// Textual: NQ_CHECKSUM_KERNEL(kernel): slowest first; dispatch takes the last one that the CPU supports.
NQ_CHECKSUM_KERNEL(checksum_scalar)
#if defined(__x86_64__) || defined(__i386__)
NQ_CHECKSUM_KERNEL(checksum_pclmulqdq)
NQ_CHECKSUM_KERNEL(checksum_avx512vpclmulqdq)
#endif
#if defined(NQ_CRC32)
NQ_CHECKSUM_KERNEL(checksum_crc32)
#endif
