#if defined(__AVX2__)
#define NQ_UNPACK_FUNCTION unpack_avx2
#define NQ_VECTOR_BYTES 32
#include "kernels/unpack/unpack_words.h"
#endif
