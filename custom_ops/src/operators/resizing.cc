#include "layers/resize.h"
#include "operators/makers.h"

namespace nq {
namespace {

constexpr int32_t kMaxSize = 1 << 16;  // floats hold it, with room for a fraction

// Of both operators.
struct ResizeParams {
  bool align_corners, half_pixel_centers;
};

using TakeTaps = std::vector<ResizeTap>(int32_t in, int32_t out, ResizeMode mode);
template <typename Element>
using WriteRow = void(const ResizedImage& image, const Element* in, int64_t row, Element* out);

struct Resizing {
  int32_t height, width;
  ResizeMode mode;
  TakeTaps* take_taps;
};

template <typename Element>
class ResizeOperator : public Operator {
 public:
  ResizeOperator(int input, int output, const Resizing& resizing, WriteRow<Element>* write_row)
      : Operator({input}, output, sizeof(Element)), to_(resizing), write_row_(write_row) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    if (in.size() != 4 || std::min(in[1], in[2]) < 1 || std::max(in[1], in[2]) > kMaxSize) {
      return error(NQ_INVALID_MODEL, "a resized tensor is not an image; expected rank 4 and sizes from 1 to %d",
                   kMaxSize);
    }
    batches_ = in[0];
    image_ = {in[1], in[2], in[3], to_.take_taps(in[1], to_.height, to_.mode),
              to_.take_taps(in[2], to_.width, to_.mode)};
    *output = {in[0], to_.height, to_.width, in[3]};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element* in = input<Element>(tensors, 0);
    Element* out = output<Element>(tensors);
    const int64_t image_elements = int64_t{image_.in_h} * image_.in_w * image_.channels;
    const int64_t row_elements = int64_t{to_.width} * image_.channels;
    share(threads, batches_ * to_.height, row_elements, [&](Range rows) {
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        write_row_(image_, in + row / to_.height * image_elements, row % to_.height, out + row * row_elements);
      }
    });
  }

 private:
  using Operator::output;
  Resizing to_;
  WriteRow<Element>* write_row_;
  ResizedImage image_ = {};
  int64_t batches_ = 0;
};

std::unique_ptr<Operator> make_resize(const TfLiteContext& context, const TfLiteNode& node, TakeTaps* take_taps,
                                      WriteRow<int8_t>* write_row, WriteRow<float>* write_row_of_floats,
                                      std::string* reason) {
  if (!has_ends_alike(context, node, 2, reason)) return nullptr;
  const TfLiteTensor& in = context.tensors[node.inputs->data[0]];
  const int32_t* size = constant_int32(context, node.inputs->data[1], 2);
  const auto* params = params_of<ResizeParams>(node);
  if (size == nullptr || params == nullptr) return stays(reason, "a size that is not constant");
  const bool sane = std::min(size[0], size[1]) >= 1 && std::max(size[0], size[1]) <= kMaxSize;
  if (!sane || in.dims->size != 4) return stays(reason, "size or rank");
  const Resizing resizing{size[0], size[1], {params->align_corners, params->half_pixel_centers}, take_taps};
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  if (is_float(&in)) return std::make_unique<ResizeOperator<float>>(input, output, resizing, write_row_of_floats);
  return std::make_unique<ResizeOperator<int8_t>>(input, output, resizing, write_row);
}

}  // namespace

std::unique_ptr<Operator> make_nearest_resize(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                              std::string* reason) {
  return make_resize(context, node, nearest_taps, nearest_row, nearest_row_of_floats, reason);
}

std::unique_ptr<Operator> make_linear_resize(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                             std::string* reason) {
  const auto* params = params_of<ResizeParams>(node);
  if (params != nullptr && params->align_corners && params->half_pixel_centers) return stays(reason, "mode");
  return make_resize(context, node, linear_taps, linear_row, linear_row_of_floats, reason);
}

}  // namespace nq
