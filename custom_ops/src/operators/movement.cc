// Operators that put elements elsewhere and compute nothing: PAD and CONCATENATION.
#include <limits>
#include <numeric>

#include "operators/makers.h"

namespace nq {
namespace {

struct ConcatenationParams {
  int axis, activation;
};

class PadOperator : public Operator {
 public:
  // `paddings`: before and after, of each of up to four dimensions. Every byte of the padding is `value`; a float's
  // is 0.
  PadOperator(int input, int output, size_t element_bytes, const std::vector<int32_t>& paddings, int8_t value)
      : Operator({input}, output, element_bytes),
        rank_(paddings.size() / 2),
        paddings_(8 - paddings.size()),
        value_(value) {
    paddings_.insert(paddings_.end(), paddings.begin(), paddings.end());
    image_ = {paddings_[2], paddings_[3], paddings_[4], paddings_[5], value};
  }

  const ImagePadding* padding() const override {
    const bool only_image =
        rank_ == kRank && paddings_[0] == 0 && paddings_[1] == 0 && paddings_[6] == 0 && paddings_[7] == 0;
    return only_image ? &image_ : nullptr;
  }

  Status reshape(const Shapes& shapes, Shape* output) override {
    in_ = shapes.at(inputs()[0]);
    if (in_.size() != rank_) {
      return error(NQ_INVALID_MODEL, "a padded tensor has rank %zu; expected %zu", in_.size(), rank_);
    }
    in_.insert(in_.begin(), kRank - rank_, 1);
    out_ = in_;
    for (size_t i = 0; i < kRank; ++i) {
      const int32_t added = paddings_[2 * i] + paddings_[2 * i + 1];
      if (out_[i] > std::numeric_limits<int32_t>::max() - added) {
        return error(NQ_INVALID_MODEL, "a padded tensor would have a side of 2^31 or more; expected less");
      }
      out_[i] += added;
    }
    output->assign(out_.begin() + static_cast<std::ptrdiff_t>(kRank - rank_), out_.end());
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    share(threads, int64_t{out_[0]} * out_[1], out_[2] * pixel_bytes(out_), [&](Range rows) {
      for (int64_t row = rows.begin; row < rows.end; ++row) write_row(in, row, out);
    });
  }

 private:
  using Operator::output;

  int64_t pixel_bytes(const Shape& shape) const { return shape[3] * static_cast<int64_t>(element_bytes()); }

  void write_row(const int8_t* in, int64_t row, int8_t* out) const {
    const int64_t batch = row / out_[1] - paddings_[0], y = row % out_[1] - paddings_[2];
    const auto pixel = static_cast<size_t>(pixel_bytes(out_)), in_c = static_cast<size_t>(pixel_bytes(in_));
    const size_t row_bytes = static_cast<size_t>(out_[2]) * pixel;
    int8_t* to = out + static_cast<size_t>(row) * row_bytes;
    std::memset(to, value_, row_bytes);
    if (batch < 0 || batch >= in_[0] || y < 0 || y >= in_[1]) return;
    const int8_t* from = in + static_cast<size_t>((batch * in_[1] + y) * in_[2]) * in_c;
    if (in_c == pixel) {
      std::memcpy(to + static_cast<size_t>(paddings_[4]) * pixel, from, static_cast<size_t>(in_[2]) * in_c);
      return;
    }
    for (int32_t x = 0; x < in_[2]; ++x) {
      std::memcpy(
          to + static_cast<size_t>(x + paddings_[4]) * pixel + static_cast<size_t>(paddings_[6]) * element_bytes(),
          from + static_cast<size_t>(x) * in_c, in_c);
    }
  }

  static constexpr size_t kRank = 4;

  size_t rank_;
  std::vector<int32_t> paddings_;  // with those of dimensions of 1 in front, up to four
  int8_t value_;
  ImagePadding image_;
  Shape in_, out_;  // with four dimensions
};

// Computed by another operator, or a constant.
struct Piece {
  size_t position = 0;  // among the inputs
  const int8_t* constant = nullptr;
  Shape shape;  // a constant's
};

class ConcatenationOperator : public Operator {
 public:
  // `axis` may count from behind.
  ConcatenationOperator(std::vector<int> inputs, int output, size_t element_bytes, std::vector<Piece> pieces, int axis)
      : Operator(std::move(inputs), output, element_bytes), pieces_(std::move(pieces)), axis_(axis) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const auto shape_of = [&](const Piece& piece) {
      return piece.constant != nullptr ? piece.shape : shapes.at(inputs()[piece.position]);
    };
    *output = shape_of(pieces_[0]);
    const auto rank = static_cast<int>(output->size());
    const int signed_axis = axis_ < 0 ? axis_ + rank : axis_;
    if (signed_axis < 0 || signed_axis >= rank) return unfit();
    const auto axis = static_cast<size_t>(signed_axis);
    (*output)[axis] = 0;
    for (const Piece& piece : pieces_) {
      Shape shape = shape_of(piece);
      if (static_cast<int>(shape.size()) != rank) return unfit();
      if (shape[axis] > std::numeric_limits<int32_t>::max() - (*output)[axis]) return unfit();
      (*output)[axis] += shape[axis];
      shape[axis] = (*output)[axis];
      if (shape != *output) return unfit();
    }
    const auto product = [&](auto begin, auto end) {
      return std::accumulate(begin, end, int64_t{1}, std::multiplies<int64_t>());
    };
    rows_ = product(output->begin(), output->begin() + signed_axis);
    const int64_t inner =
        product(output->begin() + signed_axis + 1, output->end()) * static_cast<int64_t>(element_bytes());
    row_bytes_.clear();
    for (const Piece& piece : pieces_) row_bytes_.push_back(shape_of(piece)[axis] * inner);
    out_row_bytes_ = (*output)[axis] * inner;
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    int8_t* out = output(tensors);
    share(threads, rows_, out_row_bytes_, [&](Range rows) {
      int8_t* column = out;
      for (size_t i = 0; i < pieces_.size(); ++i) {
        const Piece& piece = pieces_[i];
        copy_rows(piece.constant != nullptr ? piece.constant : input(tensors, piece.position), row_bytes_[i], rows,
                  column);
        column += row_bytes_[i];
      }
    });
  }

 private:
  using Operator::output;

  static Status unfit() {
    return error(NQ_INVALID_MODEL,
                 "concatenated tensors have shapes that do not fit; expected equal ones but for the "
                 "axis");
  }

  void copy_rows(const int8_t* in, int64_t bytes, Range rows, int8_t* out) const {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      std::memcpy(out + row * out_row_bytes_, in + row * bytes, static_cast<size_t>(bytes));
    }
  }

  std::vector<Piece> pieces_;
  int axis_;
  int64_t rows_ = 0, out_row_bytes_ = 0;  // a row: what lies together in the output
  std::vector<int64_t> row_bytes_;        // of each piece
};

}  // namespace

std::unique_ptr<Operator> make_padding(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                       std::string* reason) {
  if (!has_ends_alike(context, node, 2, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const int rank = in.dims->size;
  const int32_t* given = rank < 1 || rank > 4 ? nullptr : constant_int32(context, node.inputs->data[1], 2 * rank);
  if (given == nullptr) return stays(reason, "paddings that are computed, or a rank above 4");
  const std::vector<int32_t> paddings(given, given + 2 * rank);
  const bool sane = std::all_of(paddings.begin(), paddings.end(), [](int32_t p) { return p >= 0 && p < 1 << 20; });
  if (!sane) return stays(reason, "paddings out of range");
  const auto zero = static_cast<int8_t>(is_float(&out) ? 0 : out.params.zero_point);
  return std::make_unique<PadOperator>(node.inputs->data[0], node.outputs->data[0], element_bytes_of(in), paddings,
                                       zero);
}

std::unique_ptr<Operator> make_concatenation(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                             std::string* reason) {
  const auto* params = params_of<ConcatenationParams>(node);
  if (params == nullptr || params->activation != kActivationNone) return stays(reason, "activation");
  if (node.outputs->size != 1) return stays(reason, "another number of operands");
  const TfLiteTensor* out = tensor_at(context, node.outputs->data[0]);
  const bool floats = is_float(out);
  if (!floats && !is_quantized_int8(out)) return stays(reason, not_int8(out, out));
  std::vector<int> inputs;
  std::vector<Piece> pieces;
  for (int i = 0; i < node.inputs->size; ++i) {
    const TfLiteTensor* in = tensor_at(context, node.inputs->data[i]);
    if (!(floats ? is_float(in) : is_quantized_int8(in))) return stays(reason, "inputs of several types");
    if (!floats && !same_quantization(*in, *out)) return stays(reason, "inputs of several scales; one is supported");
    Piece piece;
    if (is_constant(*in)) {
      piece.constant = static_cast<const int8_t*>(in->data);
      piece.shape.assign(in->dims->data, in->dims->data + in->dims->size);
      const auto elements = static_cast<size_t>(num_elements(piece.shape));
      if (in->bytes != elements * element_bytes_of(*out)) return stays(reason, "a damaged constant");
    } else {
      piece.position = inputs.size();
      inputs.push_back(node.inputs->data[i]);
    }
    pieces.push_back(std::move(piece));
  }
  if (inputs.empty()) return stays(reason, "constants alone");
  return std::make_unique<ConcatenationOperator>(std::move(inputs), node.outputs->data[0], element_bytes_of(*out),
                                                 std::move(pieces), params->axis);
}

}  // namespace nq
