// A product of two matrices as a step, for those that multiply and for those that look for products.
#pragma once

#include <algorithm>

#include "layers/matrix_product.h"
#include "operators/step_graph.h"

namespace nq {

Status unfit_matrices();

// Calls work(matrix, rows, is_new) for bands of rows of all matrices, each thread's in order; `is_new` where the thread
// comes to a matrix.
template <typename Work>
void for_each_band(Range range, int64_t rows, const Work& work) {
  const int64_t bands = (rows + kMatrixRows - 1) / kMatrixRows;
  int64_t last = -1;
  for (int64_t i = range.begin; i < range.end; ++i) {
    const int64_t matrix = i / bands, first = i % bands * kMatrixRows;
    work(matrix, Range{first, std::min(first + kMatrixRows, rows)}, matrix != last);
    last = matrix;
  }
}

inline int64_t bands_of(const MatrixProduct& product) {
  return product.matrices() * ((product.rows() + kMatrixRows - 1) / kMatrixRows);
}

class MatrixProductOperator : public Operator {
 public:
  using Operator::output;

  // `shape`: of the output, but for its batch.
  MatrixProductOperator(int a, int b, int output, size_t element_bytes, bool by_rows, Shape shape)
      : Operator({a, b}, output, element_bytes), product_(by_rows) {
    Role role = {Role::kMatrixProduct};
    role.shape = std::move(shape);
    set_role(std::move(role));
  }

  const MatrixProduct& product() const { return product_; }

  // Reads tensor `from`, whose axes in that order are an operand; false if it cannot.
  bool absorb_input(const std::vector<int32_t>& order, int from, int operand) {
    bool absorbed = false;
    for (size_t i = 0; i < 2; ++i) {
      if (inputs()[i] != operand) continue;
      if (!(i == 0 ? product_.transpose_a(order) : product_.transpose_b(order))) return false;
      set_input(i, from);
      absorbed = true;
    }
    return absorbed;
  }

  bool absorb_output(const std::vector<int32_t>& order, int to) {
    if (!product_.transpose_output(order)) return false;
    set_output(to);
    return true;
  }

  Status reshape(const Shapes& shapes, Shape* output) override {
    return product_.reshape(shapes.at(inputs()[0]), shapes.at(inputs()[1]), output) ? Status() : unfit_matrices();
  }

 private:
  MatrixProduct product_;
};

inline MatrixProductOperator* product_at(const Steps& steps, size_t position) {
  Operator* step = position == StepGraph::kNone ? nullptr : steps[position].get();
  const bool is_product = step != nullptr && step->role().kind == Role::kMatrixProduct;
  return is_product ? static_cast<MatrixProductOperator*>(step) : nullptr;
}

}  // namespace nq
