#include "operators/layer_operator.h"

#include <variant>

#include "kernels/unpack/weight.h"
#include "layers/convolution.h"
#include "layers/depthwise_convolution.h"
#include "layers/float_layer.h"
#include "layers/group_dense.h"
#include "operators/reader.h"
#include "operators/row_operator.h"
#include "operators/tensors.h"
#include "operators/weight_binding.h"
#include "session/membership.h"

namespace nq {
namespace {

Role dynamic_rows(const OptionBlock& block) {
  Role role;
  role.kind = Role::kDynamicRows;
  role.row = static_cast<int32_t>(block.depth);
  role.group = static_cast<int32_t>(block.group_size);
  return role;
}

class LayerOperator : public Operator, private RowOperator {
 public:
  LayerOperator(const TfLiteContext& context, const Reader& reader)
      : Operator({reader.input}, reader.output, reader.is_float ? sizeof(float) : sizeof(int8_t)),
        context_(context),
        reader_(reader) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const Shape& in = shapes.at(reader_.input);
    Geometry g;
    if (!layer_geometry(context_, reader_, in, &g)) {
      const char* name = context_.tensors[reader_.weight].name;
      return error(NQ_INVALID_MODEL,
                   "weight '%s': its input has another shape; expected its channels, and room for the window",
                   name == nullptr ? "" : name);
    }
    if (float_ != nullptr) float_->reshape(g);
    if (layer_ != nullptr) std::visit([&](auto& layer) { layer.reshape(g); }, *layer_);
    geometry_ = g;
    *output = output_shape(in, g);
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    if (float_ != nullptr) return float_->run(input<float>(tensors, 0), output<float>(tensors), threads);
    begin_rows();
    if (grouped_ != nullptr) {
      grouped_->run(level_, input<float>(tensors, 0), geometry_.pixels(), output<float>(tensors), threads);
      return end_rows();
    }
    const auto run = [&](auto& layer) {
      if (reader_.is_float) {
        dynamic_->run(&layer, level_, input<float>(tensors, 0), output<float>(tensors), threads);
      } else {
        run_quantized(&layer, input(tensors, 0), output(tensors), threads);
      }
    };
    std::visit(run, *layer_);
    end_rows();
  }

  int64_t macs() const override {
    const TfLiteIntArray& dims = *context_.tensors[reader_.weight].dims;
    int64_t weights = 1;
    for (int i = 0; i < dims.size; ++i) weights *= dims.data[i];
    return geometry_.pixels() * weights;
  }

  void reuse_rows() override { grouped_ != nullptr ? grouped_->reuse_rows() : dynamic_->reuse_rows(); }

  bool absorb_function(ElementwiseKernel::Floats::Unary function, int output) override {
    if (finishing() == nullptr) return false;
    finishing()->apply(function);
    set_output(output);
    return true;
  }

  bool takes_range() const override { return dynamic_ != nullptr && reader_.kind != ReaderKind::kDense; }
  void use_range(const ResultRange* range) override { dynamic_->use_range(range); }
  const ResultRange* tell_range() override { return finishing() == nullptr ? nullptr : finishing()->tell_range(); }

  // Floats are quantized by the image.
  RowOperator* by_rows(int input) override {
    const bool by_rows = !reader_.is_float && reader_.kind != ReaderKind::kDense && input == reader_.input;
    return by_rows ? this : nullptr;
  }

  bool absorb_padding(const ImagePadding& padding, int input) override {
    Window& window = reader_.window;
    const int32_t zero = reader_.is_float ? 0 : context_.tensors[reader_.input].params.zero_point;
    if (reader_.kind == ReaderKind::kDense || window.same_padding || padding.value != zero) {
      return false;
    }
    window.pad_top += padding.top;
    window.pad_bottom += padding.bottom;
    window.pad_left += padding.left;
    window.pad_right += padding.right;
    reader_.input = input;
    set_input(0, input);
    return true;
  }

 protected:
  // `weight` must outlive the operator; `scale` is the tensor with those of a weight that is read as floats, and
  // `group_scale` that with its groups'.
  void build(const NodeEnvironment& environment, const NestedWeight& weight, int scale, int group_scale, int bias) {
    if (group_scale >= 0) {
      grouped_ = std::make_unique<GroupDense>(*environment.kernels.groups, *environment.kernels.quantize, weight,
                                              float_parameters(context_, reader_, scale, bias),
                                              static_cast<const uint8_t*>(context_.tensors[group_scale].data));
      set_role(dynamic_rows(weight.block));
      return;
    }
    if (reader_.is_float) {
      dynamic_ = std::make_unique<DynamicLayer>(*environment.kernels.quantize, weight,
                                                float_parameters(context_, reader_, scale, bias));
      set_role(reader_.kind == ReaderKind::kDense ? dynamic_rows(weight.block) : Role{Role::kDynamicOthers});
    } else {
      const void* values = bias < 0 ? nullptr : context_.tensors[bias].data;
      quantized_ = std::make_unique<QuantizedLayer>(weight, layer_quantization(context_, reader_),
                                                    static_cast<const int32_t*>(values));
    }
    if (reader_.kind == ReaderKind::kDepthwise) {
      layer_ = std::make_unique<Layer>(
          DepthwiseConvolution(*environment.kernels.depthwise, weight.block, environment.padding.get()));
    } else {
      layer_ = std::make_unique<Layer>(Convolution(*environment.kernels.gemm, weight.block, environment.padding.get()));
    }
  }

  // Of a weight of plain floats.
  void build(const NodeEnvironment& environment, const FloatWeight& weight) {
    float_ = std::make_unique<FloatLayer>(*environment.kernels.elementwise, *environment.kernels.quantize, weight,
                                          environment.padding.get());
    set_role({Role::kFloats});
  }

  void use_level(int level) { level_ = level; }

 private:
  using Operator::output;
  using Layer = std::variant<Convolution, DepthwiseConvolution>;

  const Geometry& geometry() const override { return geometry_; }

  // The layer of floats that can do something to its results; null if it is none.
  FinishingLayer* finishing() const {
    if (float_ != nullptr) return float_.get();
    return dynamic_.get();
  }

  // The layer keeps the shape of the last band: one that is computed by rows is so until it gets another shape.
  void run_rows(const Band& band, const int8_t* in, const Pointers&, int8_t* out, ThreadPool* threads) override {
    const auto run = [&](auto& layer) {
      layer.reshape(band.geometry);
      run_quantized(&layer, in, out, threads);
    };
    std::visit(run, *layer_);
  }

  template <typename Layer>
  void run_quantized(Layer* layer, const int8_t* in, int8_t* out, ThreadPool* threads) {
    const LayerTask task = quantized_->task(level_, layer->sum_offset(), in, layer->geometry().pixels());
    layer->run(task, quantized_->requantization(level_, layer->sum_offset()), out, threads);
  }

  Shape output_shape(const Shape& in, const Geometry& g) const {
    if (reader_.kind != ReaderKind::kDense) return {g.batches, g.out_h, g.out_w, g.out_c};
    if (!reader_.keep_num_dims) return {g.out_w, g.out_c};
    Shape shape = in;
    shape.back() = g.out_c;
    return shape;
  }

  const TfLiteContext& context_;
  Reader reader_;
  Geometry geometry_;
  int level_ = 0;
  std::unique_ptr<QuantizedLayer> quantized_;  // or
  std::unique_ptr<DynamicLayer> dynamic_;      // or
  std::unique_ptr<GroupDense> grouped_;        // or
  std::unique_ptr<FloatLayer> float_;          // these two without a layer_
  std::unique_ptr<Layer> layer_;
};

class NestedLayer : public LayerOperator {
 public:
  NestedLayer(const TfLiteContext& context, const NodeEnvironment& environment, const Reader& reader,
              const TensorIndices& tensors, Membership member)
      : LayerOperator(context, reader), session_(environment.session), member_(std::move(member)) {
    if (!member_->status.ok()) return;  // the session refuses to be prepared, so nothing runs
    const NestedWeight& weight = member_->weight;
    build(environment, weight, tensors.scale, tensors.group_scale,
          weight.block.has_bias ? tensors.bias_in : reader.bias);
  }

  uint64_t weight_bytes(int level) const override {
    const OptionBlock& block = member_->weight.block;
    uint64_t bytes = 0;
    for (int k = 0; k <= std::min(level, block.num_levels - 1); ++k) bytes += level_bytes(block, k);
    return bytes;
  }

 private:
  void begin_rows() override { use_level(session_->begin(member_.get())); }
  void end_rows() override { session_->end(member_.get()); }

  std::shared_ptr<Session> session_;
  Membership member_;
};

class PlainLayer : public LayerOperator {
 public:
  PlainLayer(const TfLiteContext& context, const NodeEnvironment& environment, const Reader& reader,
             const OptionBlock& block)
      : LayerOperator(context, reader) {
    weight_.block = block;
    uint8_t* levels[2];
    for (int k = 0; k < 2; ++k) {
      storage_[k].resize(packed_bytes(block, k));
      levels[k] = storage_[k].data();
      weight_.levels[k] = {storage_[k].data(), storage_[k].size()};
    }
    pack_weight(block, static_cast<const int8_t*>(context.tensors[reader.weight].data), levels);
    build(environment, weight_, -1, -1, reader.bias);
    use_level(1);
  }

  uint64_t weight_bytes(int) const override { return storage_[0].size() + storage_[1].size(); }

 private:
  NestedWeight weight_;
  std::vector<uint8_t> storage_[2];
};

class PlainFloatLayer : public LayerOperator {
 public:
  PlainFloatLayer(const TfLiteContext& context, const NodeEnvironment& environment, const Reader& reader)
      : LayerOperator(context, reader) {
    const TfLiteTensor& tensor = context.tensors[reader.weight];
    const FloatRange range = float_activation_range(reader.activation);
    FloatWeight weight;
    weight.depthwise = reader.kind == ReaderKind::kDepthwise;
    weight.channels = static_cast<size_t>(tensor.dims->data[weight.depthwise ? 3 : 0]);
    weight.depth = tensor.bytes / sizeof(float) / weight.channels;
    weight.values = static_cast<const float*>(tensor.data);
    weight.bias = reader.bias < 0 ? nullptr : static_cast<const float*>(context.tensors[reader.bias].data);
    weight.low = range.min;
    weight.high = range.max;
    build(environment, weight);
    bytes_ = tensor.bytes;
  }

  uint64_t weight_bytes(int) const override { return bytes_; }

 private:
  size_t bytes_;
};

Status bind(const TfLiteContext& context, const TfLiteNode& nested, const TfLiteNode& reader_node,
            const TfLiteRegistration& registration, NestedWeight* weight, TensorIndices* tensors, Reader* reader) {
  if (Status status = bind_weight(context, nested, weight, tensors); !status.ok()) return status;
  std::string reason;
  if (!parse_reader(context, reader_node, registration, tensors->weight, tensors->bias_out, reader, &reason)) {
    return error(NQ_SYSTEM, "its reader changed after it was claimed: %s", reason.c_str());
  }
  if (weight->block.group_size != 0 && reader->kind != ReaderKind::kDense) {
    return invalid_model(
        "its reader is a convolution; expected a dense layer or a lookup of a weight with group scales");
  }
  const Layout layout = reader->kind == ReaderKind::kDepthwise ? Layout::kDepthwise : Layout::kMatrix;
  if (weight->block.layout == layout) return {};
  return invalid_model("its reader is %s depthwise convolution; expected the layout of one",
                       layout == Layout::kDepthwise ? "a" : "no");
}

// Two levels of 4 bits: what pack_weight makes of an INT8 weight.
OptionBlock plain_block(const TfLiteTensor& weight, ReaderKind kind) {
  const TfLiteIntArray& dims = *weight.dims;
  OptionBlock block;
  block.layout = kind == ReaderKind::kDepthwise ? Layout::kDepthwise : Layout::kMatrix;
  block.output_type = OutputType::kInt8;
  block.full_bits = 8;
  block.num_levels = 2;
  block.levels[0].bits = block.levels[1].bits = 4;
  block.channels = static_cast<uint32_t>(dims.data[kind == ReaderKind::kDepthwise ? 3 : 0]);
  block.depth = static_cast<uint32_t>(weight.bytes) / block.channels;
  return block;
}

bool read_plain_layer(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                      Reader* reader, OptionBlock* block, std::string* reason) {
  if (!is_layer(registration)) return refuse(reason, "no kernel for the operator");
  const TfLiteTensor* weight = node.inputs->size > 1 ? tensor_at(context, node.inputs->data[1]) : nullptr;
  const bool has_type = weight != nullptr && (weight->type == kTfLiteInt8 || weight->type == kTfLiteFloat32);
  if (!has_type || !is_constant(*weight) || !is_dense(*weight)) {
    return refuse(reason, "a weight that is not a constant of int8 or float32");
  }
  if (!parse_reader(context, node, registration, node.inputs->data[1], -1, reader, reason)) return false;
  const int axis = reader->kind == ReaderKind::kDepthwise ? 3 : 0;
  if (weight->bytes == 0 || weight->bytes >= size_t{1} << 31 || weight->dims->data[axis] < 1) {
    return refuse(reason, "a weight without elements");
  }
  if (reader->is_float) return true;
  *block = plain_block(*weight, reader->kind);
  return check_int8_scales(*weight, *block).ok() ||
         refuse(reason, "a weight without symmetric scales, one or one a channel");
}

}  // namespace

std::unique_ptr<Operator> make_plain_layer(const TfLiteContext& context, const NodeEnvironment& environment,
                                           const TfLiteNode& node, const TfLiteRegistration& registration,
                                           std::string* reason) {
  Reader reader;
  OptionBlock block;
  if (!read_plain_layer(context, node, registration, &reader, &block, reason)) return nullptr;
  if (reader.is_float) return std::make_unique<PlainFloatLayer>(context, environment, reader);
  return std::make_unique<PlainLayer>(context, environment, reader, block);
}

bool is_plain_layer(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                    std::string* reason) {
  Reader reader;
  OptionBlock block;
  return read_plain_layer(context, node, registration, &reader, &block, reason);
}

std::unique_ptr<Operator> make_layer(const TfLiteContext& context, const void* graph,
                                     const NodeEnvironment& environment, const TfLiteNode& nested,
                                     const TfLiteNode& reader_node, const TfLiteRegistration& reader_registration) {
  NestedWeight weight;
  TensorIndices tensors;
  Reader reader;
  const Status status = bind(context, nested, reader_node, reader_registration, &weight, &tensors, &reader);
  const std::string place = "weight '" + weight.name + "'";
  Membership member = join_session(environment.session, graph, std::move(weight), status.at(place));
  return std::make_unique<NestedLayer>(context, environment, reader, tensors, std::move(member));
}

}  // namespace nq
