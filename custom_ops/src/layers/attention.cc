#include "layers/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "format/bytes.h"

namespace nq {
namespace {

// The matrix as rows of its depth, or of its columns, which follow each other.
const float* gather(const float* from, const PanelSource& source, bool by_columns, float* to) {
  const size_t outer = by_columns ? source.columns : source.depth, inner = by_columns ? source.depth : source.columns;
  const int64_t outer_stride = by_columns ? source.column_stride : source.depth_stride;
  const int64_t inner_stride = by_columns ? source.depth_stride : source.column_stride;
  float* next = to;
  for (size_t i = 0; i < outer; ++i) {
    const float* at = from + static_cast<int64_t>(i) * outer_stride;
    for (size_t k = 0; k < inner; ++k) *next++ = at[static_cast<int64_t>(k) * inner_stride];
  }
  return to;
}

}  // namespace

void Attention::set(const MatrixProduct& scores, const MatrixProduct& values) {
  bytes_ = 0;
  const auto take = [this](int64_t count, size_t element_bytes) {
    const size_t place = bytes_;
    bytes_ = align(bytes_ + static_cast<size_t>(count) * element_bytes, 64);
    return place;
  };
  const int64_t columns = scores.whole_columns(), depth = scores.depth(), size = values.columns();
  const auto panel_bytes = [](const MatrixProduct& product) {
    return static_cast<int64_t>(
        code_panel_bytes(static_cast<size_t>(product.depth()), static_cast<size_t>(product.columns())));
  };
  places_.key_panels = take(panel_bytes(scores), 1);
  places_.key_scales = take(columns, sizeof(float));
  places_.value_panels = take(panel_bytes(values), 1);
  places_.value_sums = take(std::max(size, columns), sizeof(int32_t));  // those of the keys too, which nobody reads
  places_.value_scales = take(size, sizeof(float));
  places_.codes = take(std::max(columns * std::max(depth, size), kMatrixRows * depth), 1);
  places_.gathered = take(columns * std::max(depth, size), sizeof(float));
  places_.q_scales = take(kMatrixRows, sizeof(float));
  places_.sums = take(kMatrixRows * std::max(columns, values.whole_columns()), sizeof(int32_t));
  places_.scores = take(columns, sizeof(float));
  places_.weights = take(kMatrixRows * columns, 1);
}

void Attention::pack(const MatrixProduct& scores, const MatrixProduct& values, int64_t matrix, const float* keys,
                     const float* of_values, uint8_t* workspace) const {
  auto* codes = at<int8_t>(workspace, places_.codes);
  auto* gathered = at<float>(workspace, places_.gathered);
  auto* sums = at<int32_t>(workspace, places_.value_sums);
  PanelSource source = scores.source();
  const float* from = keys + scores.place_in_b(matrix);
  if (source.depth_stride != 1) {
    from = gather(from, source, true, gathered);
    source.column_stride = static_cast<int64_t>(source.depth);
  }
  kernel_->attention.quantize_rows(from, source.column_stride, source.columns, source.depth, codes,
                                   at<float>(workspace, places_.key_scales));
  kernel_->codes.pack_panels(codes, {source.depth, source.columns, 1, scores.depth()},
                             at<uint8_t>(workspace, places_.key_panels), sums);
  source = values.source();
  from = of_values + values.place_in_b(matrix);
  if (source.column_stride != 1) {
    from = gather(from, source, false, gathered);
    source.depth_stride = static_cast<int64_t>(source.columns);
  }
  kernel_->attention.quantize_columns(from, source.depth_stride, source.depth, source.columns, codes,
                                      at<float>(workspace, places_.value_scales));
  kernel_->codes.pack_panels(codes, {source.depth, source.columns, values.columns(), 1},
                             at<uint8_t>(workspace, places_.value_panels), sums);
  for (size_t c = 0; c < source.columns; ++c) sums[c] *= 128;  // weights are 128 more than their codes
}

float Attention::scores_of(const MatrixProduct& product, const Rows& rows, int64_t row, const int32_t* sums,
                           uint8_t* workspace, float* beta) const {
  const auto* codes = at<int8_t>(workspace, places_.codes) + row * product.depth();
  const float scale = at<float>(workspace, places_.q_scales)[row] * factor_;
  const int32_t offset = kernel_->codes.panel_offset;
  auto* scores = at<float>(workspace, places_.scores);
  const auto columns = static_cast<size_t>(product.columns()), whole = static_cast<size_t>(product.whole_columns());
  CodeSumTerms terms = {nullptr, 0, at<float>(workspace, places_.key_scales), rows.addend == nullptr ? 1.0f : scale};
  if (offset != 0) terms.one = -offset * kernel_->codes.sum(codes, static_cast<size_t>(product.depth()));
  kernel_->attention.to_floats(terms, sums, columns, scores);
  *beta = beta_;
  if (rows.addend == nullptr) {
    *beta *= scale;
  } else {
    const float infinity = std::numeric_limits<float>::infinity();
    const float* addend = rows.addend + row * rows.addend_stride;
    kernel_->floats.add({scores, addend, 1, rows.addend_step}, -infinity, infinity, columns, scores);
  }
  std::fill(scores + columns, scores + whole, -std::numeric_limits<float>::infinity());
  return kernel_->floats.greatest(scores, whole);
}

void Attention::run(const MatrixProduct& scores, const MatrixProduct& values, const Rows& rows, uint8_t* workspace,
                    float* out) const {
  const ElementwiseKernel::Codes& codes = kernel_->codes;
  const auto depth = static_cast<size_t>(scores.depth()), whole = static_cast<size_t>(scores.whole_columns());
  auto* q = at<int8_t>(workspace, places_.codes);
  auto* sums = at<int32_t>(workspace, places_.sums);
  auto* weights = at<int8_t>(workspace, places_.weights);
  const auto count = static_cast<size_t>(rows.count);
  kernel_->attention.quantize_rows(rows.q, scores.a_stride(), count, depth, q, at<float>(workspace, places_.q_scales));
  codes.multiply_panels(scores.whole_panels(rows.count, scores.depth()), q, at<uint8_t>(workspace, places_.key_panels),
                        sums);
  int32_t totals[kMatrixRows];
  bool is_finite[kMatrixRows];
  for (size_t row = 0; row < count; ++row) {
    float beta;
    const float greatest = scores_of(scores, rows, static_cast<int64_t>(row), sums + row * whole, workspace, &beta);
    is_finite[row] = std::isfinite(greatest * beta);
    int8_t* to = weights + row * whole;
    if (is_finite[row]) {
      totals[row] = kernel_->attention.weights(at<float>(workspace, places_.scores), whole, greatest, beta, to);
    } else {
      std::fill(to, to + whole, int8_t{0});
    }
  }
  codes.multiply_panels(values.whole_panels(rows.count, scores.whole_columns()), weights,
                        at<uint8_t>(workspace, places_.value_panels), sums);
  const auto keys = static_cast<int32_t>(values.depth()), size = static_cast<int32_t>(values.columns());
  for (size_t row = 0; row < count; ++row, sums += values.whole_columns(), out += values.output_stride()) {
    const float factor =
        is_finite[row] ? 1.0f / static_cast<float>(totals[row]) : std::numeric_limits<float>::quiet_NaN();
    const int32_t of_codes = is_finite[row] ? totals[row] - 128 * keys : 0;
    kernel_->attention.to_floats({at<int32_t>(workspace, places_.value_sums), -codes.panel_offset * of_codes,
                                  at<float>(workspace, places_.value_scales), factor},
                                 sums, static_cast<size_t>(size), out);
  }
}

}  // namespace nq
