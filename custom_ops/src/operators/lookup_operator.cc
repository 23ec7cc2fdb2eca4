#include "operators/lookup_operator.h"

#include "kernels/groups/groups.h"
#include "kernels/unpack/weight.h"
#include "operators/makers.h"
#include "operators/tensors.h"
#include "operators/weight_binding.h"
#include "session/membership.h"

namespace nq {
namespace {

constexpr int32_t kEmbeddingLookup = 7, kGather = 36;  // TFLite's builtin operators

struct GatherParams {
  int axis, batch_dims;
};

// Input slots of the table and of the indices.
struct Slots {
  int table, indices;
};

Slots slots_of(const TfLiteRegistration& registration) {
  return registration.builtin_code == kGather ? Slots{0, 1} : Slots{1, 0};
}

class NestedLookup : public Operator {
 public:
  NestedLookup(const TfLiteContext& context, const NodeEnvironment& environment, int indices, int output,
               const TensorIndices& tensors, Membership member)
      : Operator({indices}, output, tensors.scale < 0 ? sizeof(int8_t) : sizeof(float)),
        context_(context),
        unpack_(*environment.kernels.unpack),
        session_(environment.session),
        tensors_(tensors),
        member_(std::move(member)) {}

  Status reshape(const Shapes& shapes, Shape* output) override {
    const TfLiteIntArray& table = *context_.tensors[tensors_.weight].dims;
    *output = shapes.at(inputs()[0]);
    count_ = num_elements(*output);
    output->insert(output->end(), table.data + 1, table.data + table.size);
    return {};
  }

  void run(const Pointers& tensors, ThreadPool* threads) override {
    const auto* indices = input<int32_t>(tensors, 0);
    const OptionBlock& block = member_->weight.block;
    for (int64_t i = 0; i < count_; ++i) {
      if (indices[i] >= 0 && static_cast<uint32_t>(indices[i]) < block.channels) continue;
      throw RunError{error(NQ_INVALID_ARGUMENT, "index %d is none of the %u rows of '%s'", indices[i], block.channels,
                           member_->weight.name.c_str())};
    }
    const int level = session_->begin(member_.get());
    const uint8_t* levels[kMaxLevels] = {};
    for (int k = 0; k <= level; ++k) levels[k] = member_->weight.levels[k].data;
    const float* scale = constant<float>(tensors_.scale);
    const GroupScales group_scales = {scale, constant<uint8_t>(tensors_.group_scale)};
    share(threads, count_, block.depth, [&](Range range) {
      for (int64_t i = range.begin; i < range.end; ++i) {
        const auto row = static_cast<uint32_t>(indices[i]);
        const int64_t at = i * block.depth;
        if (block.group_size != 0) {
          write_grouped_rows(unpack_, block, levels, level, group_scales, {row, row + 1}, output<float>(tensors) + at);
        } else if (scale == nullptr) {
          write_row(unpack_, block, levels, level, row, output(tensors) + at);
        } else {
          write_row(unpack_, block, levels, level, row, scale, output<float>(tensors) + at);
        }
      }
    });
    session_->end(member_.get());
  }

 private:
  using Operator::output;

  // Null where the weight has no such tensor.
  template <typename Value>
  const Value* constant(int index) const {
    return index < 0 ? nullptr : static_cast<const Value*>(context_.tensors[index].data);
  }

  const TfLiteContext& context_;
  const UnpackKernel& unpack_;
  std::shared_ptr<Session> session_;
  TensorIndices tensors_;
  Membership member_;
  int64_t count_ = 0;  // of indices
};

}  // namespace

bool is_lookup(const TfLiteRegistration& registration) {
  const int32_t code = registration.builtin_code;
  return registration.custom_name == nullptr && (code == kGather || code == kEmbeddingLookup);
}

bool can_look_up(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                 int weight, std::string* reason) {
  const Slots slots = slots_of(registration);
  if (node.delegate != nullptr) return refuse(reason, "claimed by another delegate");
  if (node.inputs->size != 2 || node.outputs->size != 1 || node.inputs->data[slots.table] != weight) {
    return refuse(reason, "not a lookup's form: a table and indices, to one output");
  }
  const auto* params = params_of<GatherParams>(node);
  if (registration.builtin_code == kGather && (params == nullptr || params->axis != 0 || params->batch_dims != 0)) {
    return refuse(reason, "a lookup along another axis than the first");
  }
  const TfLiteTensor* indices = tensor_at(context, node.inputs->data[slots.indices]);
  const TfLiteTensor *table = tensor_at(context, weight), *output = tensor_at(context, node.outputs->data[0]);
  if (indices == nullptr || indices->type != kTfLiteInt32 || !is_dense(*indices)) {
    return refuse(reason, "indices that are not int32");
  }
  return (table != nullptr && output != nullptr && table->dims != nullptr && output->type == table->type) ||
         refuse(reason, "an output of another type than the table");
}

std::unique_ptr<Operator> make_lookup(const TfLiteContext& context, const void* graph,
                                      const NodeEnvironment& environment, const TfLiteNode& nested,
                                      const TfLiteNode& reader, const TfLiteRegistration& registration) {
  NestedWeight weight;
  TensorIndices tensors;
  Status status = bind_weight(context, nested, &weight, &tensors);
  if (status.ok() && weight.block.layout != Layout::kMatrix) {
    status = invalid_model("a lookup reads it; expected the matrix layout");
  }
  const std::string place = "weight '" + weight.name + "'";
  Membership member = join_session(environment.session, graph, std::move(weight), status.at(place));
  const int indices = reader.inputs->data[slots_of(registration).indices];
  return std::make_unique<NestedLookup>(context, environment, indices, reader.outputs->data[0], tensors,
                                        std::move(member));
}

}  // namespace nq
