// CONV_2D and FULLY_CONNECTED on packed weights: rows of activations, where they are or copied into panels, times
// blocks of channels.
#pragma once

#include <vector>

#include "kernels/gemm.h"
#include "layers/geometry.h"
#include "layers/quantized_layer.h"
#include "layers/window_taps.h"
#include "threads/thread_pool.h"

namespace nq {

class Convolution {
 public:
  Convolution(const GemmKernel& kernel, QuantizedLayer* layer) : kernel_(kernel), layer_(layer) {}

  void reshape(const Geometry& geometry);

  // input: [batches, in_h, in_w, in_c], output: [batches, out_h, out_w, out_c], both dense.
  void run(int level, const int8_t* input, int8_t* output, ThreadPool* pool);

 private:
  // How the output is cut into parts for the threads.
  struct Cut {
    bool by_pixels;
    int parts;
  };
  struct Panel;
  template <typename Finish, typename Out>
  void run_rows(const PackedWeight& weight, const int32_t* bias, const int8_t* input, const Finish& finish, Out* output,
                ThreadPool* pool) const;
  int64_t panel_rows() const;
  Cut cut_for(int num_threads) const;
  GemmRows rows_of(const Panel& panel, const int8_t* input, Range pixels) const;
  void point_at_pieces(const int8_t** pieces, const int8_t* input, Range pixels) const;
  void copy_rows(const Panel& panel, const int8_t* input, Range pixels) const;
  const int8_t* inside_window(const int8_t* input, const Place& place) const;
  void copy_inside_row(const int8_t* input, const int8_t* window, int8_t* row) const;
  void fill_row(int8_t* row) const;
  void copy_row(const int8_t* input, const Place& place, int8_t* row) const;
  void copy_taps(const int8_t* in_row, int64_t in_x, int8_t* row) const;
  void copy(const int8_t* in, int64_t count, int8_t* out) const;

  const GemmKernel& kernel_;
  QuantizedLayer* layer_;
  Geometry geometry_;
  WindowTaps taps_;
  bool in_place_ = false;        // the kernel reads activations where they are
  size_t row_bytes_ = 0;         // of a copied row
  int64_t panel_rows_ = 1;       // pixels that go to the kernel together
  std::vector<int8_t> padding_;  // a row of zero points, of the image or the window: the longer one
};

}  // namespace nq
