#if defined(__AVX512F__)
#define NQ_UNPACK_FUNCTION unpack_avx512vnni
#define NQ_UNPACK_INTERLEAVED_FUNCTION unpack_interleaved_avx512vnni
#define NQ_VECTOR_BYTES 64
#include "kernels/unpack/unpack_words.h"
#endif
