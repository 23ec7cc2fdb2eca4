#include "layers/matrix_product.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "layers/fixed_point.h"
#include "layers/strided_copy.h"

namespace nq {
namespace {

using Shape = MatrixProduct::Shape;

constexpr int32_t kMaxShift = 15;  // to the left

// A tensor's axes in some order.
struct View {
  Shape shape;
  std::vector<int64_t> strides;
};

bool view_of(const Shape& shape, const MatrixProduct::Order& order, View* view) {
  const std::vector<int64_t> strides = strides_of(shape);
  *view = {shape, strides};
  if (order.empty()) return shape.size() >= 2;
  if (order.size() != shape.size() || order.size() < 2) return false;
  for (size_t i = 0; i < order.size(); ++i) {
    view->shape[i] = shape[static_cast<size_t>(order[i])];
    view->strides[i] = strides[static_cast<size_t>(order[i])];
  }
  return true;
}

Shape batch_of(const Shape& shape) { return Shape(shape.begin(), shape.end() - 2); }

int64_t product_of(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<int64_t>());
}

}  // namespace

MatrixProduct::Places MatrixProduct::places_of(const Shape& shape, const std::vector<int64_t>& strides) {
  const size_t axes = shape.size() - 2;
  Places places = {{}, strides[axes], strides[axes + 1]};
  const int64_t matrices = product_of(batch_of(shape));
  for (int64_t matrix = 0; matrix < matrices; ++matrix) {
    int64_t offset = 0, rest = matrix;
    for (size_t axis = axes; axis-- > 0; rest /= shape[axis]) offset += rest % shape[axis] * strides[axis];
    places.offsets.push_back(offset);
  }
  return places;
}

bool MatrixProduct::reshape(const Shape& a, const Shape& b, Shape* output) {
  View of_a, of_b;
  if (!view_of(a, order_of_a_, &of_a) || !view_of(b, order_of_b_, &of_b)) return false;
  const size_t row_axis = of_b.shape.size() - 2;
  if (by_rows_) {
    std::swap(of_b.shape[row_axis], of_b.shape[row_axis + 1]);
    std::swap(of_b.strides[row_axis], of_b.strides[row_axis + 1]);
  }
  if (of_b.shape[row_axis] != of_a.shape.back()) return false;
  const Shape batch = batch_of(of_a.shape);
  const bool shares_b = product_of(batch_of(of_b.shape)) == 1 && of_b.shape.size() <= of_a.shape.size();
  if (batch != batch_of(of_b.shape) && !shares_b) return false;
  rows_ = of_a.shape[batch.size()], depth_ = of_a.shape.back(), columns_ = of_b.shape.back();
  a_ = places_of(of_a.shape, of_a.strides);
  b_ = places_of(of_b.shape, of_b.strides);
  if (shares_b) b_.offsets.assign(a_.offsets.size(), 0);
  Shape plain = of_a.shape;
  plain.back() = static_cast<int32_t>(columns_);
  View placed;
  if (!view_of(plain, order_of_output_, &placed)) return false;
  *output = placed.shape;
  std::vector<int64_t> strides = strides_of(*output);
  for (size_t i = 0; i < order_of_output_.size(); ++i) {
    placed.strides[static_cast<size_t>(order_of_output_[i])] = strides[i];
  }
  output_ = places_of(plain, order_of_output_.empty() ? strides : placed.strides);
  return true;
}

bool CodeProduct::set(const ElementwiseKernel& kernel, Quantization a, Quantization b, Quantization output) {
  const FixedPoint ratio = fixed_point(static_cast<double>(a.scale * b.scale) / static_cast<double>(output.scale));
  codes_ = &kernel.codes;
  zero_a_ = a.zero_point, zero_b_ = b.zero_point;
  terms_ = rescaling_terms(ratio, output.zero_point);
  scale_ = a.scale * b.scale / output.scale;
  if (zero_b_ == 0) return std::isnormal(scale_);
  return ratio.multiplier > 0 && ratio.shift <= kMaxShift;
}

size_t CodeProduct::packed_bytes(const MatrixProduct& product) {
  return static_cast<size_t>(product.columns()) * sizeof(int32_t) +
         code_panel_bytes(static_cast<size_t>(product.depth()), static_cast<size_t>(product.columns()));
}

void CodeProduct::pack(const MatrixProduct& product, const int8_t* b, int64_t matrix, uint8_t* packed) const {
  auto* of_columns = reinterpret_cast<int32_t*>(packed);
  codes_->pack_panels(b + product.place_in_b(matrix), product.source(), of_columns + product.columns(), of_columns);
  for (int64_t c = 0; c < product.columns(); ++c) of_columns[c] *= -zero_a_;
}

void CodeProduct::multiply(const MatrixProduct& product, int64_t rows, const int8_t* a, int64_t a_stride,
                           const uint8_t* packed, uint8_t* scratch, int8_t* out, int64_t out_stride) const {
  const auto* of_columns = reinterpret_cast<const int32_t*>(packed);
  auto* sums = reinterpret_cast<int32_t*>(scratch);
  const auto columns = static_cast<size_t>(product.columns()), depth = static_cast<size_t>(product.depth());
  codes_->multiply_panels(product.whole_panels(rows, a_stride), a, of_columns + columns, sums);
  for (int64_t row = 0; row < rows; ++row, a += a_stride, sums += product.whole_columns(), out += out_stride) {
    const int32_t of_row =
        static_cast<int32_t>(depth) * zero_a_ * zero_b_ - (zero_b_ + codes_->panel_offset) * codes_->sum(a, depth);
    if (zero_b_ == 0) {
      rescale_in_float(sums, of_columns, of_row, columns, out);
    } else {
      codes_->rescale(sums, of_columns, of_row, columns, terms_, out);
    }
  }
}

void CodeProduct::rescale_in_float(const int32_t* sums, const int32_t* more, int32_t one, size_t count,
                                   int8_t* out) const {
  const float low = static_cast<float>(-128 - terms_.zero_point), high = static_cast<float>(127 - terms_.zero_point);
  for (size_t i = 0; i < count; ++i) {
    const float value = static_cast<float>(sums[i] + more[i] + one) * scale_;
    out[i] = static_cast<int8_t>(std::lrint(std::min(std::max(value, low), high)) + terms_.zero_point);
  }
}

}  // namespace nq
