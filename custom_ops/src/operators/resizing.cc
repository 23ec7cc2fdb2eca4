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
using WriteRow = void(const ResizedImage& image, const int8_t* in, int64_t row, int8_t* out);

class ResizeOperator : public Operator {
 public:
  ResizeOperator(int input, int output, int32_t height, int32_t width, ResizeMode mode, TakeTaps* take_taps,
                 WriteRow* write_row)
      : Operator({input}, output),
        height_(height),
        width_(width),
        mode_(mode),
        take_taps_(take_taps),
        write_row_(write_row) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    if (in.size() != 4 || std::min(in[1], in[2]) < 1 || std::max(in[1], in[2]) > kMaxSize) {
      return error(NQ_INVALID_MODEL, "a resized tensor is no image; expected rank 4 and sizes from 1 to %d", kMaxSize);
    }
    batches_ = in[0];
    image_ = {in[1], in[2], in[3], take_taps_(in[1], height_, mode_), take_taps_(in[2], width_, mode_)};
    *output = {in[0], height_, width_, in[3]};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    const int64_t image_elements = int64_t{image_.in_h} * image_.in_w * image_.channels;
    const int64_t row_elements = int64_t{width_} * image_.channels;
    share(threads, batches_ * height_, row_elements, [&](Range rows) {
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        write_row_(image_, in + row / height_ * image_elements, row % height_, out + row * row_elements);
      }
    });
  }

 private:
  using Operator::output;
  int32_t height_, width_;
  ResizeMode mode_;
  TakeTaps* take_taps_;
  WriteRow* write_row_;
  ResizedImage image_ = {};
  int64_t batches_ = 0;
};

std::unique_ptr<Operator> make_resize(const TfLiteContext& context, const TfLiteNode& node, TakeTaps* take_taps,
                                      WriteRow* write_row, std::string* reason) {
  if (!has_int8_ends(context, node, 2, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const int32_t* size = constant_int32(context, node.inputs->data[1], 2);
  const auto* params = params_of<ResizeParams>(node);
  if (size == nullptr || params == nullptr) return stays(reason, "a size that is not constant");
  const bool sane = std::min(size[0], size[1]) >= 1 && std::max(size[0], size[1]) <= kMaxSize;
  if (!sane || in.dims->size != 4) return stays(reason, "size or rank");
  if (!same_quantization(in, out)) return stays(reason, "scales");
  const ResizeMode mode{params->align_corners, params->half_pixel_centers};
  return std::make_unique<ResizeOperator>(node.inputs->data[0], node.outputs->data[0], size[0], size[1], mode,
                                          take_taps, write_row);
}

}  // namespace

std::unique_ptr<Operator> make_nearest_resize(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                              std::string* reason) {
  return make_resize(context, node, nearest_taps, nearest_row, reason);
}

std::unique_ptr<Operator> make_linear_resize(const TfLiteContext& context, const TfLiteNode& node, const Kernels&,
                                             std::string* reason) {
  const auto* params = params_of<ResizeParams>(node);
  if (params != nullptr && params->align_corners && params->half_pixel_centers) return stays(reason, "mode");
  return make_resize(context, node, linear_taps, linear_row, reason);
}

}  // namespace nq
