// BATCH_MATMUL of two tensors, each of which may be read as if its axes were in another order.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/elementwise/elementwise.h"
#include "layers/quantization.h"
#include "threads/thread_pool.h"

namespace nq {

inline constexpr int64_t kMatrixRows = 24;  // that are multiplied at once: whole tiles of most kernels

class MatrixProduct {
 public:
  using Shape = std::vector<int32_t>;
  using Order = std::vector<int32_t>;  // the axis that comes at each place; empty: as they are

  // `by_rows`: the second matrix has the depth as its last axis.
  explicit MatrixProduct(bool by_rows) : by_rows_(by_rows) {}

  // Takes over what would put the axes of an operand, or of the output, into that order; false if it cannot.
  bool transpose_a(const Order& order) { return keeps_last_axis(order) && set(order, &order_of_a_); }
  bool transpose_b(const Order& order) { return set(order, &order_of_b_); }
  bool transpose_output(const Order& order) { return keeps_last_axis(order) && set(order, &order_of_output_); }

  bool transposes_a() const { return !order_of_a_.empty(); }
  bool transposes_output() const { return !order_of_output_.empty(); }

  // Takes the shapes of two tensors [.., rows, depth] and [.., depth, columns], before their axes are put in order, and
  // gives the output's, after it; false if they cannot be multiplied.
  bool reshape(const Shape& a, const Shape& b, Shape* output);

  int64_t matrices() const { return static_cast<int64_t>(a_.offsets.size()); }
  int64_t rows() const { return rows_; }
  int64_t depth() const { return depth_; }
  int64_t columns() const { return columns_; }

  PanelSource source() const {
    return {static_cast<size_t>(depth_), static_cast<size_t>(columns_), b_.row_stride, b_.column_stride};
  }
  PanelProduct panels(int64_t rows, int64_t a_stride, int64_t out_stride) const {
    return {static_cast<size_t>(rows), static_cast<size_t>(depth_), static_cast<size_t>(columns_), a_stride,
            out_stride};
  }
  // The same with whole panels of columns, of which those behind the last one become anything.
  PanelProduct whole_panels(int64_t rows, int64_t a_stride) const {
    return {static_cast<size_t>(rows), static_cast<size_t>(depth_), static_cast<size_t>(whole_columns()), a_stride,
            whole_columns()};
  }
  int64_t whole_columns() const {
    constexpr auto kColumns = static_cast<int64_t>(kPanelColumns);
    return (columns_ + kColumns - 1) / kColumns * kColumns;
  }
  // Where rows of the first matrix are, the second matrix, and rows of the output.
  int64_t place_in_a(int64_t matrix, int64_t row) const { return a_.place(matrix, row); }
  int64_t place_in_b(int64_t matrix) const { return b_.place(matrix, 0); }
  int64_t place_in_output(int64_t matrix, int64_t row) const { return output_.place(matrix, row); }
  int64_t a_stride() const { return a_.row_stride; }
  int64_t output_stride() const { return output_.row_stride; }

 private:
  // Where the matrices of a tensor begin, and how far apart their rows and columns are.
  struct Places {
    std::vector<int64_t> offsets;
    int64_t row_stride = 0, column_stride = 0;
    int64_t place(int64_t matrix, int64_t row) const { return offsets[static_cast<size_t>(matrix)] + row * row_stride; }
  };

  static bool keeps_last_axis(const Order& order) {
    return !order.empty() && order.back() + 1 == static_cast<int32_t>(order.size());
  }
  static bool set(const Order& order, Order* own) {
    if (!own->empty()) return false;
    *own = order;
    return true;
  }
  static Places places_of(const Shape& shape, const std::vector<int64_t>& strides);

  bool by_rows_;
  Order order_of_a_, order_of_b_, order_of_output_;
  int64_t rows_ = 0, depth_ = 0, columns_ = 0;
  Places a_, b_, output_;
};

// A product of floats.
class FloatProduct {
 public:
  using Element = float;

  explicit FloatProduct(const ElementwiseKernel& kernel) : floats_(&kernel.floats) {}

  // A second matrix of `product`, packed.
  static size_t packed_bytes(const MatrixProduct& product) {
    return panel_floats(static_cast<size_t>(product.depth()), static_cast<size_t>(product.columns())) * sizeof(float);
  }
  void pack(const MatrixProduct& product, const float* b, int64_t matrix, uint8_t* packed) const {
    floats_->pack_panels(b + product.place_in_b(matrix), product.source(), reinterpret_cast<float*>(packed));
  }

  // What multiply() writes besides, for each row.
  static size_t scratch_bytes(const MatrixProduct&) { return 0; }

  // Rows [depth], `a_stride` apart, by a packed matrix, to rows `out_stride` apart.
  void multiply(const MatrixProduct& product, int64_t rows, const float* a, int64_t a_stride, const uint8_t* packed,
                uint8_t*, float* out, int64_t out_stride) const {
    floats_->multiply_panels(product.panels(rows, a_stride, out_stride), a, reinterpret_cast<const float*>(packed),
                             out);
  }

 private:
  const ElementwiseKernel::Floats* floats_;
};

// A product of int8. Sums are exact. Where the second operand's zero point is 0 they are rescaled in float, as XNNPACK
// does, which takes no other products; else in fixed point, as TFLite's own kernel does.
class CodeProduct {
 public:
  using Element = int8_t;

  // False where the scales are too far apart.
  bool set(const ElementwiseKernel& kernel, Quantization a, Quantization b, Quantization output);

  // As those of FloatProduct.
  static size_t packed_bytes(const MatrixProduct& product);
  void pack(const MatrixProduct& product, const int8_t* b, int64_t matrix, uint8_t* packed) const;
  static size_t scratch_bytes(const MatrixProduct& product) {
    return static_cast<size_t>(product.whole_columns()) * sizeof(int32_t);
  }
  void multiply(const MatrixProduct& product, int64_t rows, const int8_t* a, int64_t a_stride, const uint8_t* packed,
                uint8_t* scratch, int8_t* out, int64_t out_stride) const;

 private:
  // Of sums[i] + more[i] + one.
  void rescale_in_float(const int32_t* sums, const int32_t* more, int32_t one, size_t count, int8_t* out) const;

  const ElementwiseKernel::Codes* codes_ = nullptr;
  int32_t zero_a_ = 0, zero_b_ = 0;
  RescalingTerms terms_ = {};
  float scale_ = 0;  // of sums, where they are rescaled in float
};

}  // namespace nq
