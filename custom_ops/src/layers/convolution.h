// CONV_2D and FULLY_CONNECTED on packed weights: rows of activations, where they are or copied into panels, times
// blocks of channels.
#pragma once

#include "kernels/gemm/gemm.h"
#include "layers/float_finish.h"
#include "layers/geometry.h"
#include "layers/grid_convolution.h"
#include "layers/layer_task.h"
#include "layers/padding_row.h"
#include "layers/window_taps.h"
#include "threads/thread_pool.h"

namespace nq {

class Convolution {
 public:
  // The block and the padding must outlive the layer; layers that run at the same time have paddings of their own.
  Convolution(const GemmKernel& kernel, const OptionBlock& block, PaddingRow* padding)
      : kernel_(kernel), block_(block), grid_(kernel, block), padding_(*padding) {}

  void reshape(const Geometry& geometry);
  const Geometry& geometry() const { return geometry_; }
  int32_t sum_offset() const { return kernel_.sum_offset; }

  // input: [batches, in_h, in_w, in_c], output: [batches, out_h, out_w, out_c], both dense; of a task of fewer pixels,
  // their beginning.
  void run(const LayerTask& task, const Requantization& requantization, int8_t* output, ThreadPool* pool);
  void run(const LayerTask& task, const FloatFinish& finish, float* output, ThreadPool* pool);

 private:
  // How the output is cut into parts for the threads.
  struct Cut {
    bool by_pixels;
    int parts;
  };
  struct Panel;
  template <typename Finish, typename Out>
  void run_rows(const LayerTask& task, const Finish& finish, Out* output, ThreadPool* pool);
  int64_t panel_rows() const;
  Cut cut_for(int64_t num_pixels, int num_threads) const;
  Range part_of(int64_t num_pixels, int part, int parts) const;
  int64_t part_unit() const;
  GemmRows rows_of(const Panel& panel, const int8_t* input, Range pixels) const;
  GemmRows spaced_rows(const Panel& panel, const int8_t* input, Range pixels) const;
  void point_at_pieces(const int8_t** pieces, const int8_t* input, Range pixels) const;
  void copy_rows(const Panel& panel, const int8_t* input, Range pixels) const;
  const int8_t* inside_window(const int8_t* input, const Place& place) const;
  void copy_inside_rows(const int8_t* input, const int8_t* window, int64_t count, int8_t* row) const;
  int64_t row_bytes() const { return static_cast<int64_t>(row_bytes_); }
  uint32_t filled_step() const;
  void fill_rows(int8_t* row, int64_t count) const;
  void copy_row(const int8_t* input, const Place& place, int8_t* row) const;
  void copy_taps(const int8_t* in_row, int64_t in_x, int8_t* row) const;
  void copy(const int8_t* in, int64_t count, int8_t* out) const;

  const GemmKernel& kernel_;
  const OptionBlock& block_;
  Geometry geometry_;
  GridConvolution grid_;
  bool on_grid_ = false;
  WindowTaps taps_;
  bool in_place_ = false;   // the kernel reads activations where they are
  size_t row_bytes_ = 0;    // of a copied row
  int64_t panel_rows_ = 1;  // pixels that go to the kernel together
  PaddingRow& padding_;
};

}  // namespace nq
