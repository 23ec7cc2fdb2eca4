// Attention of floats, softmax(q k' * factor + addend) v, by two products of int8: each row of q and of k and each
// column of v is quantized with a scale of its own, and the powers of each row of scores are whole 255ths of the
// greatest one. Sums are exact. docs/limits.md says what it costs.
#pragma once

#include "layers/matrix_product.h"

namespace nq {

class Attention {
 public:
  // `factor` of the scores before anything is added, `beta` of the sum.
  Attention(const ElementwiseKernel& kernel, float factor, float beta)
      : kernel_(&kernel), factor_(factor), beta_(beta) {}

  // The shapes of both products; the second one's depth is the first one's columns.
  void set(const MatrixProduct& scores, const MatrixProduct& values);

  // What a thread needs.
  size_t workspace_bytes() const { return bytes_; }

  // Packs the second operands of both products of a matrix.
  void pack(const MatrixProduct& scores, const MatrixProduct& values, int64_t matrix, const float* keys,
            const float* of_values, uint8_t* workspace) const;

  // Rows of q and what is added to their scores, `addend_stride` apart, each [columns] or of one if `addend_step` is 0.
  struct Rows {
    const float* q;
    const float* addend;  // or null
    int64_t addend_stride, addend_step;
    int64_t count;  // kMatrixRows at most
  };

  // After pack(), with its workspace.
  void run(const MatrixProduct& scores, const MatrixProduct& values, const Rows& rows, uint8_t* workspace,
           float* out) const;

 private:
  // Places in the workspace.
  struct Places {
    size_t key_panels, key_scales, value_panels, value_sums, value_scales;
    size_t codes, gathered, q_scales, sums, scores, weights;
  };
  template <typename T>
  static T* at(uint8_t* workspace, size_t place) {
    return reinterpret_cast<T*>(workspace + place);
  }

  // Scores of one row, as floats, of which the greatest one is returned; -infinity behind the last one.
  float scores_of(const MatrixProduct& product, const Rows& rows, int64_t row, const int32_t* sums, uint8_t* workspace,
                  float* beta) const;

  const ElementwiseKernel* kernel_;
  float factor_, beta_;
  Places places_ = {};
  size_t bytes_ = 0;
};

}  // namespace nq
