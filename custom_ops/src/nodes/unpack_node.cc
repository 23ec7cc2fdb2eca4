#include "nodes/unpack_node.h"

#include "kernels/groups/groups.h"
#include "kernels/unpack/weight.h"
#include "nodes/layer_clock.h"
#include "nodes/node_calls.h"
#include "operators/weight_binding.h"

namespace nq {
namespace {

class UnpackNode {
 public:
  UnpackNode(TfLiteContext* context, const NodeEnvironment& environment, const TfLiteDelegateParams& params)
      : environment_(environment) {
    NestedWeight weight;
    const Status status = bind(context, params.nodes_to_replace->data[0], &weight);
    const std::string place = "weight '" + weight.name + "'";
    is_start_ = status.ok() && weight.block.is_start;
    member_ = is_start_ ? environment_.session->add_start(std::move(weight), status)
                        : environment_.session->add(context, std::move(weight), status.at(place));
  }
  ~UnpackNode() { environment_.session->remove(member_); }
  UnpackNode(const UnpackNode&) = delete;
  UnpackNode& operator=(const UnpackNode&) = delete;

  Status prepare(TfLiteContext* context) {
    if (Status status = environment_.session->prepare(); !status.ok()) return status;
    if (Status status = keep_shape(context, tensors_.weight); !status.ok()) return status;
    if (environment_.profile && !is_start_) time_layer(context);
    return tensors_.bias_out < 0 ? Status() : keep_shape(context, tensors_.bias_out);
  }

  void invoke(TfLiteContext* context) {
    if (is_start_) return environment_.session->start();
    if (clock_ != nullptr) clock_->begin();
    const int level = environment_.session->begin(member_);
    clock_ == nullptr ? unpack(context, level) : clock_->time(0, [&] { unpack(context, level); });
    environment_.session->end(member_);
    if (clock_ != nullptr) clock_->end();
  }

 private:
  void time_layer(const TfLiteContext* context) {
    const TfLiteTensor& tensor = context->tensors[tensors_.weight];
    const OptionBlock& block = member_->weight.block;
    LayerTime layer;
    layer.name = kCustomOpName;
    layer.output = tensor.name == nullptr ? "" : tensor.name;
    layer.weight = layer.output;
    layer.place = NQ_UNPACKED;
    layer.shape.assign(tensor.dims->data, tensor.dims->data + tensor.dims->size);
    uint64_t bytes = tensor.bytes;
    for (int k = 0; k < block.num_levels; ++k) layer.bytes[static_cast<size_t>(k)] = bytes += level_bytes(block, k);
    clock_ = std::make_unique<LayerClock>(environment_.session, context, std::vector<LayerTime>{layer});
  }

  Status bind(TfLiteContext* context, int node_index, NestedWeight* weight) {
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, node_index, &node, &registration) != kTfLiteOk) {
      return error(NQ_SYSTEM, "the runtime does not give node %d to its delegate", node_index);
    }
    return bind_weight(*context, *node, weight, &tensors_);
  }

  // The runtime leaves the shapes of a claimed node's outputs to the delegate.
  static Status keep_shape(TfLiteContext* context, int index) {
    TfLiteTensor& tensor = context->tensors[index];
    return resize(context, index, new_int_array(tensor.dims->size, tensor.dims->data));
  }

  void unpack(TfLiteContext* context, int level) const {
    const OptionBlock& block = member_->weight.block;
    const uint8_t* levels[kMaxLevels] = {};
    for (int k = 0; k <= level; ++k) levels[k] = member_->weight.levels[k].data;
    const auto input = [&](int index) { return static_cast<const void*>(context->tensors[index].data); };
    const auto output = [&](int index) { return context->tensors[index].data; };
    if (block.output_type == OutputType::kInt8) {
      write_weight(*environment_.kernels.unpack, block, levels, level, static_cast<int8_t*>(output(tensors_.weight)));
      if (!block.has_bias) return;
      write_bias(block, levels[level], level, static_cast<const int32_t*>(input(tensors_.bias_in)),
                 static_cast<int32_t*>(output(tensors_.bias_out)));
    } else {
      const auto* scale = static_cast<const float*>(input(tensors_.scale));
      auto* weight = static_cast<float*>(output(tensors_.weight));
      if (block.group_size == 0) {
        write_weight(*environment_.kernels.unpack, block, levels, level, scale, weight);
      } else {
        const GroupScales scales = {scale, static_cast<const uint8_t*>(input(tensors_.group_scale))};
        write_grouped_rows(*environment_.kernels.unpack, block, levels, level, scales, {0, block.channels}, weight);
      }
      if (!block.has_bias) return;
      write_bias(block, levels[level], level, scale, static_cast<const float*>(input(tensors_.bias_in)),
                 static_cast<float*>(output(tensors_.bias_out)));
    }
  }

  NodeEnvironment environment_;
  TensorIndices tensors_;
  bool is_start_ = false;
  Session::Member* member_ = nullptr;
  std::unique_ptr<LayerClock> clock_;  // if times are kept
};

}  // namespace

TfLiteRegistration unpack_node_registration() { return node_registration<UnpackNode>("NqUnpackDequant"); }

}  // namespace nq
