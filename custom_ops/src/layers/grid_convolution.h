// CONV_2D with a window of several taps, for kernels that take evenly spaced rows: lines of the image are copied onto a
// grid with their padding, where each tap of a window lies equally far from the first one. No row is gathered.
#pragma once

#include <vector>

#include "kernels/gemm/gemm.h"
#include "layers/geometry.h"
#include "layers/layer_task.h"
#include "threads/thread_pool.h"

namespace nq {

class GridConvolution {
 public:
  // The block must outlive the layer.
  GridConvolution(const GemmKernel& kernel, const OptionBlock& block) : kernel_(kernel), block_(block) {}

  // False for a geometry that the kernel does not take on a grid, or that would leave most of the grid without outputs.
  bool reshape(const Geometry& geometry);

  // All pixels of the output; threads share out its lines, or its channels.
  void run(const LayerTask& task, const Requantization& requantization, bool by_lines, int8_t* output,
           ThreadPool* pool);

 private:
  // Lines of the output, of one image.
  struct Panel {
    int64_t batch, first, count;
  };
  struct Memory;

  void run_lines(const LayerTask& task, const Requantization& requantization, Range lines, Range blocks, int8_t* output,
                 Workspace* workspace) const;
  void copy_lines(const LayerTask& task, const Panel& panel, int8_t* grid) const;
  int64_t grid_bytes(int64_t out_lines) const { return (out_lines + span_h_ - 1) * grid_w_ * geometry_.in_c; }

  const GemmKernel& kernel_;
  const OptionBlock& block_;
  Geometry geometry_;
  std::vector<int64_t> taps_;                    // bytes of the grid from a window's first tap to each
  int64_t grid_w_ = 0, span_h_ = 0, lines_ = 0;  // lines_: of the output, in a panel
};

}  // namespace nq
