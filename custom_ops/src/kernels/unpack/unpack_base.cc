// For the ISA that the whole library is built for.
#define NQ_UNPACK_FUNCTION unpack_base
#define NQ_VECTOR_BYTES 16
#include "kernels/unpack/unpack_words.h"
