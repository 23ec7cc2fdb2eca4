#if defined(__ARM_NEON)
#define NQ_UNPACK_FUNCTION unpack_neon
#define NQ_VECTOR_BYTES 16
#include "kernels/unpack/unpack_words.h"
#endif
