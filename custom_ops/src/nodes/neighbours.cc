// The operators around nested weights that a partition takes in, so that a network need not go back to the runtime
// between its layers. Each gives XNNPACK's results to the bit.
#include "layers/addition.h"
#include "layers/geometry.h"
#include "nodes/layer_operator.h"
#include "nodes/operator.h"
#include "nodes/tensors.h"

namespace nq {
namespace {

constexpr int32_t kAdd = 0, kMaxPool2d = 17, kPad = 34;  // TFLite's builtin operators

struct AddParams {
  int activation;
};
struct PoolParams {
  int padding, stride_w, stride_h, filter_w, filter_h, activation;
};

class AddOperator : public Operator {
 public:
  AddOperator(std::vector<int> inputs, int output, const Addition& addition)
      : Operator(std::move(inputs), output), addition_(addition) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    *output = shapes.at(inputs()[0]);
    if (*output == shapes.at(inputs()[1])) {
      elements_ = num_elements(*output);
      return {};
    }
    return error(NQ_INVALID_MODEL, "the inputs of an addition changed shape; expected the same for both");
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t *a = input(tensors, 0), *b = input(tensors, 1);
    int8_t* out = output(tensors);
    threads->run([&](int part, Workspace*) {
      const Range range = split_range(elements_, part, threads->size());
      addition_.run(a + range.begin, b + range.begin, static_cast<size_t>(range.end - range.begin), out + range.begin);
    });
  }

 private:
  using Operator::output;
  Addition addition_;
  int64_t elements_ = 0;
};

class PadOperator : public Operator {
 public:
  PadOperator(int input, int output, const int32_t* paddings, int8_t value)
      : Operator({input}, output), paddings_(paddings, paddings + 8), value_(value) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    in_ = shapes.at(inputs()[0]);
    if (in_.size() != 4) return error(NQ_INVALID_MODEL, "a padded tensor has rank %zu; expected 4", in_.size());
    out_ = in_;
    for (size_t i = 0; i < 4; ++i) out_[i] += paddings_[2 * i] + paddings_[2 * i + 1];
    *output = out_;
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    threads->run([&](int part, Workspace*) {
      const Range rows = split_range(int64_t{out_[0]} * out_[1], part, threads->size());
      for (int64_t row = rows.begin; row < rows.end; ++row) write_row(in, row, out);
    });
  }

 private:
  using Operator::output;

  void write_row(const int8_t* in, int64_t row, int8_t* out) const {
    const int64_t batch = row / out_[1] - paddings_[0], y = row % out_[1] - paddings_[2];
    const size_t pixel = static_cast<size_t>(out_[3]), row_bytes = static_cast<size_t>(out_[2]) * pixel;
    int8_t* to = out + static_cast<size_t>(row) * row_bytes;
    std::memset(to, value_, row_bytes);
    if (batch < 0 || batch >= in_[0] || y < 0 || y >= in_[1]) return;
    const auto in_c = static_cast<size_t>(in_[3]);
    const int8_t* from = in + static_cast<size_t>((batch * in_[1] + y) * in_[2]) * in_c;
    for (int32_t x = 0; x < in_[2]; ++x) {
      std::memcpy(to + static_cast<size_t>(x + paddings_[4]) * pixel + paddings_[6],
                  from + static_cast<size_t>(x) * in_c, in_c);
    }
  }

  std::vector<int32_t> paddings_;  // before and after, of each dimension
  int8_t value_;
  Shape in_, out_;
};

class MaxPoolOperator : public Operator {
 public:
  MaxPoolOperator(int input, int output, const Window& window, ActivationRange range)
      : Operator({input}, output), window_(window), range_(range) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(inputs()[0]);
    Geometry g;
    g.window = window_;
    if (in.size() == 4) g.batches = in[0], g.in_h = in[1], g.in_w = in[2], g.in_c = g.out_c = in[3];
    place_window(&g);
    if (in.size() != 4 || g.out_h < 1 || g.out_w < 1) {
      return error(NQ_INVALID_MODEL, "the input of a pooling is too small; expected room for its window");
    }
    geometry_ = g;
    *output = {g.batches, g.out_h, g.out_w, g.out_c};
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const int8_t* in = input(tensors, 0);
    int8_t* out = output(tensors);
    threads->run([&](int part, Workspace*) {
      const Range pixels = split_range(geometry_.pixels(), part, threads->size());
      for (int64_t pixel = pixels.begin; pixel < pixels.end; ++pixel) {
        write_pixel(in, pixel, out + static_cast<size_t>(pixel) * static_cast<size_t>(geometry_.out_c));
      }
    });
  }

 private:
  using Operator::output;

  void write_pixel(const int8_t* in, int64_t pixel, int8_t* out) const {
    const Geometry& g = geometry_;
    const int64_t x = pixel % g.out_w, y = pixel / g.out_w % g.out_h, batch = pixel / g.out_w / g.out_h;
    const int64_t top = y * g.window.stride_h - g.pad_top, left = x * g.window.stride_w - g.pad_left;
    const auto channels = static_cast<size_t>(g.in_c);
    std::memset(out, range_.low, channels);
    for (int64_t in_y = std::max<int64_t>(top, 0); in_y < std::min<int64_t>(top + g.window.kernel_h, g.in_h); ++in_y) {
      for (int64_t in_x = std::max<int64_t>(left, 0); in_x < std::min<int64_t>(left + g.window.kernel_w, g.in_w);
           ++in_x) {
        const int8_t* from = in + static_cast<size_t>((batch * g.in_h + in_y) * g.in_w + in_x) * channels;
        for (size_t c = 0; c < channels; ++c) out[c] = std::max(out[c], from[c]);
      }
    }
    for (size_t c = 0; c < channels; ++c) out[c] = std::min(out[c], range_.high);
  }

  Window window_;
  ActivationRange range_;
  Geometry geometry_;
};

bool has_int8_ends(const TfLiteContext& context, const TfLiteNode& node, int num_inputs, std::string* reason) {
  if (node.inputs->size < num_inputs || node.outputs->size != 1) return refuse(reason, "another number of operands");
  const bool quantized = is_quantized_int8(tensor_at(context, node.inputs->data[0])) &&
                         is_quantized_int8(tensor_at(context, node.outputs->data[0]));
  return quantized || refuse(reason, "not full-int8");
}

bool has_shape_of(const TfLiteTensor& a, const TfLiteTensor& b) {
  return a.dims->size == b.dims->size && std::equal(a.dims->data, a.dims->data + a.dims->size, b.dims->data);
}

std::unique_ptr<Operator> stays(std::string* reason, const char* why) {
  *reason = why;
  return nullptr;
}

// Each gives null, with the reason, for an operator that stays with the runtime.

std::unique_ptr<Operator> make_addition(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  if (!has_int8_ends(context, node, 2, reason) || node.builtin_data == nullptr) return nullptr;
  const int activation = static_cast<const AddParams*>(node.builtin_data)->activation;
  const TfLiteTensor &a = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const TfLiteTensor* b = tensor_at(context, node.inputs->data[1]);
  if (!is_quantized_int8(b) || !has_shape_of(a, *b) || is_constant(a) || is_constant(*b)) {
    return stays(reason, "a constant or broadcast operand");
  }
  if (activation < kActivationNone || activation > kActivationRelu6) return stays(reason, "activation");
  const ActivationRange range = activation_range(activation, out);
  const AdditionKernel* kernel = nullptr;
  if (Status status = select_addition_kernel(&kernel); !status.ok()) return stays(reason, "no kernel");
  Addition addition(*kernel);
  if (!addition.set({a.params.scale / out.params.scale, a.params.zero_point},
                    {b->params.scale / out.params.scale, b->params.zero_point}, out.params.zero_point, range.low,
                    range.high)) {
    return stays(reason, "scales too far apart");
  }
  const std::vector<int> inputs = {node.inputs->data[0], node.inputs->data[1]};
  return std::make_unique<AddOperator>(inputs, node.outputs->data[0], addition);
}

std::unique_ptr<Operator> make_padding(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  if (!has_int8_ends(context, node, 2, reason)) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const TfLiteTensor* paddings = tensor_at(context, node.inputs->data[1]);
  const bool constant = paddings != nullptr && paddings->type == kTfLiteInt32 && is_constant(*paddings);
  if (!constant || paddings->bytes != 8 * sizeof(int32_t) || in.dims->size != 4 || is_constant(in)) {
    return stays(reason, "paddings that are not a constant for rank 4");
  }
  const auto* values = static_cast<const int32_t*>(paddings->data);
  const bool sane = std::all_of(values, values + 8, [](int32_t p) { return p >= 0 && p < 1 << 20; });
  if (!sane || !same_quantization(in, out)) return stays(reason, "paddings or scales out of range");
  const auto zero = static_cast<int8_t>(out.params.zero_point);
  return std::make_unique<PadOperator>(node.inputs->data[0], node.outputs->data[0], values, zero);
}

std::unique_ptr<Operator> make_max_pooling(const TfLiteContext& context, const TfLiteNode& node, std::string* reason) {
  if (!has_int8_ends(context, node, 1, reason) || node.builtin_data == nullptr) return nullptr;
  const TfLiteTensor &in = context.tensors[node.inputs->data[0]], &out = context.tensors[node.outputs->data[0]];
  const auto& params = *static_cast<const PoolParams*>(node.builtin_data);
  const bool known = (params.padding == kPaddingSame || params.padding == kPaddingValid) &&
                     params.activation >= kActivationNone && params.activation <= kActivationRelu6;
  const auto [least, greatest] = std::minmax({params.stride_w, params.stride_h, params.filter_w, params.filter_h});
  if (!known || least < 1 || greatest > kMaxWindowStep) {
    return stays(reason, "stride, filter or activation");
  }
  if (!same_quantization(in, out) || in.dims->size != 4 || is_constant(in)) return stays(reason, "scales");
  Window window;
  window.kernel_h = params.filter_h;
  window.kernel_w = params.filter_w;
  window.stride_h = params.stride_h;
  window.stride_w = params.stride_w;
  window.same_padding = params.padding == kPaddingSame;
  return std::make_unique<MaxPoolOperator>(node.inputs->data[0], node.outputs->data[0], window,
                                           activation_range(params.activation, out));
}

using Make = std::unique_ptr<Operator> (*)(const TfLiteContext&, const TfLiteNode&, std::string*);

Make maker_of(int32_t builtin_code) {
  switch (builtin_code) {
    case kAdd:
      return make_addition;
    case kPad:
      return make_padding;
    case kMaxPool2d:
      return make_max_pooling;
    default:
      return nullptr;
  }
}

bool is_free(const TfLiteNode& node, const TfLiteRegistration& registration, std::string* reason) {
  if (node.delegate != nullptr) return refuse(reason, "claimed by another delegate");
  return registration.custom_name == nullptr || refuse(reason, "a custom operator");
}

}  // namespace

std::unique_ptr<Operator> make_neighbour(const TfLiteContext& context, const NodeEnvironment& environment,
                                         const TfLiteNode& node, const TfLiteRegistration& registration,
                                         std::string* reason) {
  if (!is_free(node, registration, reason)) return nullptr;
  const Make make = maker_of(registration.builtin_code);
  return make != nullptr ? make(context, node, reason)
                         : make_plain_layer(context, environment, node, registration, reason);
}

bool is_neighbour(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                  std::string* reason) {
  if (!is_free(node, registration, reason)) return false;
  const Make make = maker_of(registration.builtin_code);
  return make != nullptr ? make(context, node, reason) != nullptr : is_plain_layer(context, node, registration, reason);
}

}  // namespace nq
