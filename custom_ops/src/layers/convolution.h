// CONV_2D and FULLY_CONNECTED on packed weights: panels of prepared activation rows times channel blocks.
#pragma once

#include "kernels/gemm.h"
#include "layers/geometry.h"
#include "layers/quantized_layer.h"
#include "threads/thread_pool.h"

namespace nq {

class Convolution {
 public:
  Convolution(const GemmKernel& kernel, QuantizedLayer* layer) : kernel_(kernel), layer_(layer) {}

  void reshape(const Geometry& geometry);

  // input: [batches, in_h, in_w, in_c], output: [batches, out_h, out_w, out_c], both dense.
  void run(int level, const int8_t* input, int8_t* output, ThreadPool* pool);

 private:
  struct Job;
  void run_part(const Job& job, int part, int parts, Workspace* workspace) const;
  void run_panel(const Job& job, Range pixels, Range blocks, uint8_t* rows, uint8_t* scratch) const;
  void prepare_row(const Job& job, const Place& place, uint8_t* row) const;
  void prepare_taps(const int8_t* in_row, int64_t in_x, uint32_t at, uint8_t* row) const;

  Geometry geometry_;
  std::vector<int8_t> padding_;  // a window's row of zero points
  const GemmKernel& kernel_;
  QuantizedLayer* layer_;
};

}  // namespace nq
