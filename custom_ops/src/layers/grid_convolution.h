// CONV_2D with a window of several taps, for kernels that take evenly spaced rows: lines of the image are copied with
// their padding, and no window is gathered. On a grid, for strides of one, each tap of a window is a piece of a row,
// and the next pixel of the grid is the next row. On strips, for few channels and any stride, each line of a window is
// a piece.
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

  // False for a geometry that goes on neither, or that would leave most of the grid without outputs.
  bool reshape(const Geometry& geometry);

  // All pixels of the output; threads share out its lines, or its channels.
  void run(const LayerTask& task, const Requantization& requantization, bool by_lines, int8_t* output,
           ThreadPool* pool);

 private:
  // Lines of the output, of one image.
  struct Panel {
    int64_t batch, first, count;
  };

  bool on_grid() const;
  bool on_strips() const;
  void place_pieces();
  GemmRows rows_of(const int8_t* const* pieces, int64_t count) const;
  void run_lines(const LayerTask& task, const Requantization& requantization, Range lines, Range blocks, int8_t* output,
                 Workspace* workspace) const;
  void copy_lines(const LayerTask& task, const Panel& panel, int8_t* grid) const;
  int64_t lines_read(int64_t out_lines) const { return (out_lines - 1) * geometry_.window.stride_h + span_h_; }
  int64_t line_bytes() const { return grid_w_ * geometry_.in_c; }

  const GemmKernel& kernel_;
  const OptionBlock& block_;
  Geometry geometry_;
  bool strips_ = false;
  std::vector<int64_t> pieces_;  // bytes from a window's first piece to each
  uint32_t piece_depth_ = 0;
  int64_t grid_w_ = 0, span_h_ = 0, lines_ = 0;  // lines_: of the output, in a panel
};

}  // namespace nq
