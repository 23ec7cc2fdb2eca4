#include "layers/pooling.h"

#include "operators/makers.h"

namespace nq {
namespace {

constexpr int64_t kMaxPixels = 1 << 23;  // their sum stays within 31 bits

struct PoolParams {
  int padding, stride_w, stride_h, filter_w, filter_h, activation;
};
struct ReducerParams {
  bool keep_dims;
};

using PoolPixel = void(const ElementwiseKernel& kernel, const Geometry& g, ActivationRange range, const int8_t* in,
                       int64_t pixel, int8_t* out);

class PoolOperator : public Operator {
 public:
  PoolOperator(int input, int output, const Window& window, ActivationRange range, PoolPixel* pool,
               const ElementwiseKernel& kernel)
      : Operator({input}, output), window_(window), range_(range), pool_(pool), kernel_(kernel) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    Geometry g;
    g.window = window_;
    if (in.size() == 4) g.batches = in[0], g.in_h = in[1], g.in_w = in[2], g.in_c = g.out_c = in[3];
    const bool is_image = in.size() == 4 && std::max(in[1], in[2]) <= kMaxImageSide;
    if (is_image) place_window(&g);
    if (!is_image || g.out_h < 1 || g.out_w < 1) {
      return error(NQ_INVALID_MODEL, "the input of a pooling does not fit; expected an image with room for its window");
    }
    geometry_ = g;
    *output = {g.batches, g.out_h, g.out_w, g.out_c};
    return {};
  }

  // The lowest code changes no maximum, so taps on it may as well be left out.
  bool absorb_padding(const ImagePadding& padding, int input) override {
    if (pool_ != max_pool_pixel || window_.same_padding || padding.value != -128) return false;
    window_.pad_top += padding.top;
    window_.pad_bottom += padding.bottom;
    window_.pad_left += padding.left;
    window_.pad_right += padding.right;
    set_input(0, input);
    return true;
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    const int64_t cost = int64_t{geometry_.out_c} * window_.kernel_h * window_.kernel_w;
    share(threads, geometry_.pixels(), cost, [&](Range pixels) {
      for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
        pool_(kernel_, geometry_, range_, in, pixel, out + pixel * geometry_.out_c);
      }
    });
  }

 private:
  using Operator::output;
  Window window_;
  ActivationRange range_;
  PoolPixel* pool_;
  const ElementwiseKernel& kernel_;
  Geometry geometry_;
};

class ImageMeanOperator : public Operator {
 public:
  ImageMeanOperator(int input, int output, const ElementwiseKernel& kernel, Quantization from, Quantization to,
                    bool keep_dims)
      : Operator({input}, output), from_(from), to_(to), keep_dims_(keep_dims), mean_(kernel) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    pixels_ = in.size() == 4 ? int64_t{in[1]} * in[2] : 0;
    if (pixels_ < 1 || pixels_ > kMaxPixels) {
      return error(NQ_INVALID_MODEL, "a mean over %lld pixels; expected an image of 1 to %lld",
                   static_cast<long long>(pixels_), static_cast<long long>(kMaxPixels));
    }
    batches_ = in[0];
    channels_ = in[3];
    mean_.set(from_, to_, pixels_);
    *output = keep_dims_ ? Shape{in[0], 1, 1, in[3]} : Shape{in[0], in[3]};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    share(threads, batches_ * channels_, pixels_, [&](Range range) {
      while (range.begin < range.end) {  // the part of it that lies in one image
        const int64_t batch = range.begin / channels_, channel = range.begin % channels_;
        const int64_t count = std::min(channels_ - channel, range.end - range.begin);
        mean_.run(in + batch * pixels_ * channels_, channels_, channel, count, out + batch * channels_);
        range.begin += count;
      }
    });
  }

 private:
  using Operator::output;
  Quantization from_, to_;
  bool keep_dims_;
  ImageMean mean_;
  int64_t batches_ = 0, pixels_ = 0, channels_ = 0;
};

std::unique_ptr<Operator> make_pooling(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                       PoolPixel* pool, std::string* reason) {
  if (!has_int8_ends(context, node, 1, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const auto* params = params_of<PoolParams>(node);
  if (params == nullptr || !is_known(params->activation)) return stays(reason, "activation");
  const auto [least, greatest] = std::minmax({params->stride_w, params->stride_h, params->filter_w, params->filter_h});
  if ((params->padding != kPaddingSame && params->padding != kPaddingValid) || least < 1 || greatest > kMaxWindowStep) {
    return stays(reason, "padding, stride or filter");
  }
  if (int64_t{params->filter_w} * params->filter_h > kMaxPixels) return stays(reason, "filter");
  if (!same_quantization(in, out) || in.dims->size != 4)
    return stays(reason, "another scale after pooling than before, or another rank than 4");
  Window window;
  window.kernel_h = params->filter_h;
  window.kernel_w = params->filter_w;
  window.stride_h = params->stride_h;
  window.stride_w = params->stride_w;
  window.same_padding = params->padding == kPaddingSame;
  return std::make_unique<PoolOperator>(node.inputs->data[0], node.outputs->data[0], window,
                                        activation_range(params->activation, out), pool, *kernels.elementwise);
}

// Height and width of NHWC, in either order, counted from the front or from behind.
bool are_image_axes(const int32_t* axes) {
  const auto from_front = [](int32_t axis) { return axis < 0 ? axis + 4 : axis; };
  const int32_t first = from_front(axes[0]), second = from_front(axes[1]);
  return std::min(first, second) == 1 && std::max(first, second) == 2;
}

}  // namespace

std::unique_ptr<Operator> make_max_pooling(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                           std::string* reason) {
  return make_pooling(context, node, kernels, max_pool_pixel, reason);
}

std::unique_ptr<Operator> make_average_pooling(const TfLiteContext& context, const TfLiteNode& node,
                                               const Kernels& kernels, std::string* reason) {
  return make_pooling(context, node, kernels, average_pool_pixel, reason);
}

std::unique_ptr<Operator> make_image_mean(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                          std::string* reason) {
  if (!has_int8_ends(context, node, 2, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const int32_t* axes = constant_int32(context, node.inputs->data[1], 2);
  const auto* params = params_of<ReducerParams>(node);
  if (axes == nullptr || params == nullptr || in.dims->size != 4 || !are_image_axes(axes)) {
    return stays(reason, "axes other than height and width, which are supported");
  }
  return std::make_unique<ImageMeanOperator>(node.inputs->data[0], node.outputs->data[0], *kernels.elementwise,
                                             quantization_of(in), quantization_of(out), params->keep_dims);
}

}  // namespace nq
