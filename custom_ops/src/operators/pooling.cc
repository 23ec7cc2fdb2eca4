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

template <typename Element, typename OutputRange>
class PoolOperator : public Operator {
 public:
  using Pool = void(const ElementwiseKernel& kernel, const Geometry& g, OutputRange range, const Element* in,
                    Range pixels, Element* out);

  PoolOperator(int input, int output, const Window& window, OutputRange range, Pool* pool,
               const ElementwiseKernel& kernel)
      : Operator({input}, output, sizeof(Element)), window_(window), range_(range), pool_(pool), kernel_(kernel) {}

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

  // The lowest code changes no maximum, so taps on it may as well be left out. Floats are padded with zeros.
  bool absorb_padding(const ImagePadding& padding, int input) override {
    if (!takes_greatest_code() || window_.same_padding || padding.value != -128) return false;
    window_.pad_top += padding.top;
    window_.pad_bottom += padding.bottom;
    window_.pad_left += padding.left;
    window_.pad_right += padding.right;
    set_input(0, input);
    return true;
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element* in = input<Element>(tensors, 0);
    Element* out = output<Element>(tensors);
    const int64_t cost = int64_t{geometry_.out_c} * window_.kernel_h * window_.kernel_w;
    share(threads, geometry_.pixels(), cost,
          [&](Range pixels) { pool_(kernel_, geometry_, range_, in, pixels, out + pixels.begin * geometry_.out_c); });
  }

 private:
  using Operator::output;

  bool takes_greatest_code() const {
    if constexpr (std::is_same_v<Element, int8_t>) return pool_ == max_pool;
    return false;
  }

  Window window_;
  OutputRange range_;
  Pool* pool_;
  const ElementwiseKernel& kernel_;
  Geometry geometry_;
};

// Axes that lie together, counted from the front.
struct Axes {
  size_t first, count;
};

// What a node reduces, and along which axes.
struct ReductionNode {
  int input, output;
  Axes axes;
  bool keep_dims;
  std::vector<size_t> single;  // axes among them that were not asked for, of one element
};

// Over what these axes span, as over an image's pixels: what lies behind them are its channels.
template <typename Reduction>
class ReductionOperator : public Operator {
  using Element = typename Reduction::Element;

 public:
  ReductionOperator(const ReductionNode& node, const Reduction& reduction)
      : Operator({node.input}, node.output, sizeof(Element)),
        reduction_(reduction),
        axes_(node.axes),
        keep_dims_(node.keep_dims),
        single_(node.single) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    const size_t end = axes_.first + axes_.count;
    const bool has_axes = in.size() >= end;
    const auto first = in.begin() + static_cast<std::ptrdiff_t>(has_axes ? axes_.first : 0);
    const auto last = in.begin() + static_cast<std::ptrdiff_t>(has_axes ? end : 0);
    pixels_ = has_axes ? num_elements(Shape(first, last)) : 0;
    if (pixels_ < 1 || pixels_ > kMaxPixels) {
      return error(NQ_INVALID_MODEL, "a reduction over %lld elements; expected 1 to %lld",
                   static_cast<long long>(pixels_), static_cast<long long>(kMaxPixels));
    }
    for (const size_t axis : single_) {
      if (in[axis] != 1) return error(NQ_INVALID_MODEL, "a reduction beside an axis of %d; expected 1", in[axis]);
    }
    batches_ = num_elements(Shape(in.begin(), first));
    channels_ = num_elements(Shape(last, in.end()));
    reduction_.set_pixels(pixels_);
    output->assign(in.begin(), first);
    if (keep_dims_) output->insert(output->end(), axes_.count, 1);
    output->insert(output->end(), last, in.end());
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const Element* in = input<Element>(tensors, 0);
    Element* out = output<Element>(tensors);
    share(threads, batches_ * channels_, pixels_, [&](Range range) {
      while (range.begin < range.end) {  // the part of it that lies in one image
        const int64_t batch = range.begin / channels_, channel = range.begin % channels_;
        const int64_t count = std::min(channels_ - channel, range.end - range.begin);
        reduction_.run(in + batch * pixels_ * channels_, channels_, channel, count, out + batch * channels_);
        range.begin += count;
      }
    });
  }

 private:
  using Operator::output;
  Reduction reduction_;
  Axes axes_;
  bool keep_dims_;
  std::vector<size_t> single_;
  int64_t batches_ = 0, pixels_ = 0, channels_ = 0;
};

// A pooling node's window, and its fused activation.
bool read_pooling(const TfLiteContext& context, const TfLiteNode& node, bool floats, Window* window, int* activation,
                  std::string* reason) {
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const auto* params = params_of<PoolParams>(node);
  if (params == nullptr || !is_known(params->activation)) return refuse(reason, "activation");
  const auto [least, greatest] = std::minmax({params->stride_w, params->stride_h, params->filter_w, params->filter_h});
  if ((params->padding != kPaddingSame && params->padding != kPaddingValid) || least < 1 || greatest > kMaxWindowStep) {
    return refuse(reason, "padding, stride or filter");
  }
  if (int64_t{params->filter_w} * params->filter_h > kMaxPixels) return refuse(reason, "filter");
  if ((!floats && !same_quantization(in, out)) || in.dims->size != 4) {
    return refuse(reason, "another scale after pooling than before, or another rank than 4");
  }
  window->kernel_h = params->filter_h;
  window->kernel_w = params->filter_w;
  window->stride_h = params->stride_h;
  window->stride_w = params->stride_w;
  window->same_padding = params->padding == kPaddingSame;
  *activation = params->activation;
  return true;
}

using PoolCodes = PoolOperator<int8_t, ActivationRange>;
using PoolFloats = PoolOperator<float, FloatRange>;

std::unique_ptr<Operator> make_pooling(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                       PoolCodes::Pool* pool_codes, PoolFloats::Pool* pool_floats,
                                       std::string* reason) {
  const bool floats = has_float_ends(context, node, 1);
  if (!floats && !has_int8_ends(context, node, 1, reason)) return nullptr;
  Window window;
  int activation = kActivationNone;
  if (!read_pooling(context, node, floats, &window, &activation, reason)) return nullptr;
  const int input = node.inputs->data[0], output = node.outputs->data[0];
  const ElementwiseKernel& kernel = *kernels.elementwise;
  if (floats) {
    return std::make_unique<PoolFloats>(input, output, window, float_activation_range(activation), pool_floats, kernel);
  }
  return std::make_unique<PoolCodes>(input, output, window, activation_range(activation, context.tensors[output]),
                                     pool_codes, kernel);
}

// Of a constant, in any order, from the front or from behind; false unless they lie together.
// Those between given ones count too, and go to `single`, if they have one element and stay in the output.
bool read_axes(const TfLiteContext& context, int index, const TfLiteIntArray& shape, bool keep_dims, Axes* axes,
               std::vector<size_t>* single) {
  const int32_t rank = shape.size;
  const TfLiteTensor* tensor = tensor_at(context, index);
  if (tensor == nullptr) return false;
  const auto count = static_cast<int>(tensor->bytes / sizeof(int32_t));
  const int32_t* given = constant_int32(context, index, count);
  if (given == nullptr || count < 1 || count > rank) return false;
  std::vector<int32_t> sorted(given, given + count);
  for (int32_t& axis : sorted) axis = axis < 0 ? axis + rank : axis;
  std::sort(sorted.begin(), sorted.end());
  if (sorted[0] < 0 || sorted.back() >= rank || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return false;
  }
  for (int32_t axis = sorted[0]; axis < sorted.back(); ++axis) {
    if (std::binary_search(sorted.begin(), sorted.end(), axis)) continue;
    if (!keep_dims || shape.data[axis] != 1) return false;
    single->push_back(static_cast<size_t>(axis));
  }
  *axes = {static_cast<size_t>(sorted[0]), static_cast<size_t>(sorted.back() - sorted[0] + 1)};
  return true;
}

bool read_reduction(const TfLiteContext& context, const TfLiteNode& node, ReductionNode* found, std::string* reason) {
  const auto* params = params_of<ReducerParams>(node);
  const int input = node.inputs->data[0];
  const TfLiteIntArray& shape = *context.tensors[input].dims;
  if (params == nullptr ||
      !read_axes(context, node.inputs->data[1], shape, params->keep_dims, &found->axes, &found->single)) {
    return refuse(reason, "axes that are computed or lie apart");
  }
  found->input = input;
  found->output = node.outputs->data[0];
  found->keep_dims = params->keep_dims;
  return true;
}

template <typename Reduction>
std::unique_ptr<Operator> make_reduction(const ReductionNode& node, const Reduction& reduction) {
  return std::make_unique<ReductionOperator<Reduction>>(node, reduction);
}

}  // namespace

std::unique_ptr<Operator> make_max_pooling(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                           std::string* reason) {
  return make_pooling(context, node, kernels, max_pool, max_pool_floats, reason);
}

std::unique_ptr<Operator> make_average_pooling(const TfLiteContext& context, const TfLiteNode& node,
                                               const Kernels& kernels, std::string* reason) {
  return make_pooling(context, node, kernels, average_pool, average_pool_floats, reason);
}

std::unique_ptr<Operator> make_mean(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                    std::string* reason) {
  const bool floats = has_float_ends(context, node, 2);
  if (!floats && !has_int8_ends(context, node, 2, reason)) return nullptr;
  ReductionNode found;
  if (!read_reduction(context, node, &found, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[found.input], &out = context.tensors[found.output];
  const Axes axes = found.axes;
  if (floats) {
    auto step = make_reduction(found, FloatImageMean(*kernels.elementwise));
    const auto rank = static_cast<size_t>(in.dims->size);
    const bool of_last_axes = found.keep_dims && axes.first + axes.count == rank && (axes.first > 0 || rank == 1);
    Role role = {of_last_axes ? Role::kMeanOfRows : Role::kOther};
    role.axes = static_cast<int32_t>(axes.count);
    role.row = in.dims->data[rank - 1];
    step->set_role(std::move(role));
    return step;
  }
  return make_reduction(found, ImageMean(*kernels.elementwise, quantization_of(in), quantization_of(out)));
}

std::unique_ptr<Operator> make_sum(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                   std::string* reason) {
  if (!has_float_ends(context, node, 2)) return stays(reason, "int8 activations; floats are supported");
  ReductionNode found;
  if (!read_reduction(context, node, &found, reason)) return nullptr;
  return make_reduction(found, FloatImageSum(*kernels.elementwise));
}

std::unique_ptr<Operator> make_greatest(const TfLiteContext& context, const TfLiteNode& node, const Kernels& kernels,
                                        std::string* reason) {
  ReductionNode found;
  if (!has_ends_alike(context, node, 2, reason) || !read_reduction(context, node, &found, reason)) return nullptr;
  if (is_float(&context.tensors[found.input])) return make_reduction(found, FloatImageGreatest(*kernels.elementwise));
  return make_reduction(found, ImageGreatest(*kernels.elementwise));
}

}  // namespace nq
