// Float activations to int8 on all threads: each row with a scale and a zero point of its own, or each group of a row
// does.
#pragma once

#include "kernels/groups/groups.h"
#include "kernels/quantize/quantize.h"
#include "threads/thread_pool.h"

namespace nq {

struct QuantizedRows {
  const int8_t* codes;  // as the floats lie; 64 bytes behind the last one may be read
  const float* scale;   // of each row
  const int32_t* zero_point;
};

struct GroupedShape {
  int num_rows;
  uint32_t depth, group_size;
  size_t num_groups() const { return static_cast<size_t>(num_rows) * (depth / group_size); }
};

// The result lies in the pool's shared workspace, and its bytes are the same for any number of threads. `range` is that
// of the only row, if it is known.
QuantizedRows quantize_rows(const QuantizeKernel& kernel, const float* rows, int64_t row_size, int64_t num_rows,
                            ThreadPool* pool, const FloatRange* range = nullptr);

// What the last call with as many rows gave, if nobody has used the workspace since.
QuantizedRows quantized_rows(int64_t row_size, int64_t num_rows, ThreadPool* pool);

// The same two for groups of `group_size` of rows of `depth`.
GroupRows quantize_grouped_rows(const QuantizeKernel& kernel, const float* rows, const GroupedShape& shape,
                                ThreadPool* pool);
GroupRows quantized_grouped_rows(const GroupedShape& shape, ThreadPool* pool);

}  // namespace nq
