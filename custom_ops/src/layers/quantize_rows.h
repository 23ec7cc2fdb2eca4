// Float activations to int8 on all threads, each row with a scale and a zero point of its own.
#pragma once

#include "kernels/quantize/quantize.h"
#include "threads/thread_pool.h"

namespace nq {

struct QuantizedRows {
  const int8_t* codes;  // as the floats lie; 64 bytes behind the last one may be read
  const float* scale;   // of each row
  const int32_t* zero_point;
};

// The result lies in the pool's shared workspace, and its bytes are the same for any number of threads. `range` is that
// of the only row, if it is known.
QuantizedRows quantize_rows(const QuantizeKernel& kernel, const float* rows, int64_t row_size, int64_t num_rows,
                            ThreadPool* pool, const FloatRange* range = nullptr);

// What the last call with as many rows gave, if nobody has used the workspace since.
QuantizedRows quantized_rows(int64_t row_size, int64_t num_rows, ThreadPool* pool);

}  // namespace nq
