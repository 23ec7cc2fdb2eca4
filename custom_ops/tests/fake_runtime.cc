#include "fake_runtime.h"

#include <cstdarg>
#include <cstdio>

namespace nq_test {

FakeRuntime::FakeRuntime() {
  context_.impl_ = this;
  context_.GetExecutionPlan = get_plan;
  context_.GetNodeAndRegistration = get_node;
  context_.ReplaceNodeSubsetsWithDelegateKernels = replace;
  context_.PreviewDelegatePartitioning = preview;
  context_.ResizeTensor = resize;
  context_.ReportError = report;
}

FakeRuntime::~FakeRuntime() {
  for (Node& claim : claims_) claim.registration.free(&context_, claim.node->user_data);
  for (TfLiteTensor& tensor : tensors_) std::free(tensor.dims);
  for (auto* nodes : {&nodes_, &claims_}) {
    for (Node& node : *nodes) {
      std::free(node.node->inputs);
      std::free(node.node->outputs);
    }
  }
  for (void* array : arrays_) std::free(array);
  for (const TfLiteDelegateParams& partition : previewed_) std::free(partition.nodes_to_replace);
  std::free(plan_);
}

int FakeRuntime::add_tensor(TfLiteType type, const std::vector<int>& shape) {
  TfLiteTensor tensor = {};
  tensor.type = type;
  tensor.dims = new_int_array(static_cast<int>(shape.size()), shape.data());
  tensors_.push_back(tensor);
  context_.tensors = tensors_.data();
  context_.tensors_size = tensors_.size();
  return static_cast<int>(tensors_.size()) - 1;
}

int FakeRuntime::add_constant(TfLiteType type, const std::vector<int>& shape, const void* data, size_t bytes) {
  const int index = add_tensor(type, shape);
  tensor(index).data = const_cast<void*>(data);
  tensor(index).bytes = bytes;
  tensor(index).allocation_type = kTfLiteMmapRo;
  tensor(index).allocation = this;
  return index;
}

int FakeRuntime::add_output(const std::string& name, TfLiteType type, const std::vector<int>& shape) {
  const int index = add_tensor(type, shape);
  names_.push_back(name);
  tensor(index).name = names_.back().c_str();
  return index;
}

void FakeRuntime::set_scales(int index, const std::vector<float>& scales, int axis) {
  static_assert(sizeof(float) == sizeof(int), "the arrays have one layout");
  TfLiteIntArray* values = new_int_array(static_cast<int>(scales.size()), reinterpret_cast<const int*>(scales.data()));
  const int zero = 0;
  TfLiteIntArray* zero_points = new_int_array(1, &zero);
  arrays_.insert(arrays_.end(), {values, zero_points});
  quantizations_.push_back({reinterpret_cast<TfLiteFloatArray*>(values), zero_points, axis});
  tensor(index).quantization = {kTfLiteAffineQuantization, &quantizations_.back()};
}

void FakeRuntime::set_quantization(int index, float scale, int zero_point) {
  tensor(index).params = {scale, zero_point};
}

int FakeRuntime::add_node(const char* custom_name, const std::vector<int>& inputs, const std::vector<int>& outputs,
                          const Bytes& options) {
  Node node = {std::make_unique<TfLiteNode>(), {}};
  *node.node = {};
  node.node->inputs = new_int_array(static_cast<int>(inputs.size()), inputs.data());
  node.node->outputs = new_int_array(static_cast<int>(outputs.size()), outputs.data());
  node.node->custom_initial_data = options.data();
  node.node->custom_initial_data_size = static_cast<int>(options.size());
  node.registration.custom_name = custom_name;
  nodes_.push_back(std::move(node));
  return static_cast<int>(nodes_.size()) - 1;
}

int FakeRuntime::add_builtin(int32_t code, const std::vector<int>& inputs, const std::vector<int>& outputs,
                             const void* params) {
  const int index = add_node(nullptr, inputs, outputs, {});
  node(index).builtin_data = const_cast<void*>(params);
  nodes_.back().registration.builtin_code = code;
  return index;
}

TfLiteStatus FakeRuntime::apply(TfLiteDelegate* delegate) { return delegate->Prepare(&context_, delegate); }

TfLiteStatus FakeRuntime::prepare() {
  for (Node& claim : claims_) {
    if (claim.registration.prepare(&context_, claim.node.get()) != kTfLiteOk) return kTfLiteError;
  }
  return kTfLiteOk;
}

TfLiteStatus FakeRuntime::invoke() {
  for (Node& claim : claims_) {
    if (claim.registration.invoke(&context_, claim.node.get()) != kTfLiteOk) return kTfLiteError;
  }
  return kTfLiteOk;
}

TfLiteStatus FakeRuntime::get_plan(TfLiteContext* context, TfLiteIntArray** plan) {
  FakeRuntime& runtime = self(context);
  std::vector<int> indices;
  for (size_t i = 0; i < runtime.nodes_.size() + runtime.claims_.size(); ++i) {
    const bool replaced = i < runtime.nodes_.size() && runtime.claimed_.count(static_cast<int>(i)) != 0;
    if (!replaced) indices.push_back(static_cast<int>(i));
  }
  std::free(runtime.plan_);
  *plan = runtime.plan_ = new_int_array(static_cast<int>(indices.size()), indices.data());
  return kTfLiteOk;
}

TfLiteStatus FakeRuntime::get_node(TfLiteContext* context, int index, TfLiteNode** node,
                                   TfLiteRegistration** registration) {
  FakeRuntime& runtime = self(context);
  ++runtime.num_node_reads_;
  const auto at = static_cast<size_t>(index);
  Node& found = at < runtime.nodes_.size() ? runtime.nodes_[at] : runtime.claims_[at - runtime.nodes_.size()];
  *node = found.node.get();
  *registration = &found.registration;
  return kTfLiteOk;
}

std::vector<std::vector<int>> FakeRuntime::partitions_of(const TfLiteIntArray& nodes) const {
  if (!parts_nodes_) return {{nodes.data, nodes.data + nodes.size}};
  std::vector<std::vector<int>> partitions;
  for (int i = 0; i < nodes.size; ++i) partitions.push_back({nodes.data[i]});
  return partitions;
}

TfLiteStatus FakeRuntime::preview(TfLiteContext* context, const TfLiteIntArray* nodes,
                                  TfLiteDelegateParams** partitions, int* num_partitions) {
  FakeRuntime& runtime = self(context);
  for (const TfLiteDelegateParams& partition : runtime.previewed_) std::free(partition.nodes_to_replace);
  runtime.previewed_.clear();
  for (const std::vector<int>& inside : runtime.partitions_of(*nodes)) {
    TfLiteIntArray* indices = new_int_array(static_cast<int>(inside.size()), inside.data());
    runtime.previewed_.push_back({nullptr, indices, nullptr, nullptr});
  }
  *partitions = runtime.previewed_.data();
  *num_partitions = static_cast<int>(runtime.previewed_.size());
  return kTfLiteOk;
}

TfLiteStatus FakeRuntime::replace(TfLiteContext* context, TfLiteRegistration registration, const TfLiteIntArray* nodes,
                                  TfLiteDelegate* delegate) {
  FakeRuntime& runtime = self(context);
  for (const std::vector<int>& inside : runtime.partitions_of(*nodes)) runtime.claim(registration, inside, delegate);
  return kTfLiteOk;
}

void FakeRuntime::claim(const TfLiteRegistration& registration, const std::vector<int>& nodes,
                        TfLiteDelegate* delegate) {
  std::vector<int> inputs, outputs;
  for (const int index : nodes) {
    const TfLiteNode& inside = node(index);
    inputs.insert(inputs.end(), inside.inputs->data, inside.inputs->data + inside.inputs->size);
    outputs.insert(outputs.end(), inside.outputs->data, inside.outputs->data + inside.outputs->size);
  }
  TfLiteIntArray* claimed = new_int_array(static_cast<int>(nodes.size()), nodes.data());
  Node claim = {std::make_unique<TfLiteNode>(), registration};
  *claim.node = {};
  claim.node->delegate = delegate;
  claim.node->inputs = new_int_array(static_cast<int>(inputs.size()), inputs.data());
  claim.node->outputs = new_int_array(static_cast<int>(outputs.size()), outputs.data());
  TfLiteDelegateParams params = {delegate, claimed, claim.node->inputs, claim.node->outputs};
  claim.node->user_data = registration.init(&context_, reinterpret_cast<const char*>(&params), sizeof(params));
  std::free(claimed);
  // Claims move nodes in memory: whoever kept a pointer reads freed memory.
  for (Node& node : nodes_) node.node = std::make_unique<TfLiteNode>(*node.node);
  for (const int index : nodes) node(index).delegate = delegate;
  claimed_.insert(nodes.begin(), nodes.end());
  std::free(plan_);
  plan_ = nullptr;
  claims_.push_back(std::move(claim));
}

TfLiteStatus FakeRuntime::resize(TfLiteContext* context, TfLiteTensor* tensor, TfLiteIntArray* shape) {
  FakeRuntime& runtime = self(context);
  size_t bytes = tensor->type == kTfLiteInt8 ? 1 : 4;
  for (int i = 0; i < shape->size; ++i) bytes *= static_cast<size_t>(shape->data[i]);
  runtime.arena_.emplace_back(bytes);
  std::free(tensor->dims);
  tensor->dims = shape;
  tensor->data = runtime.arena_.back().data();
  tensor->bytes = bytes;
  return kTfLiteOk;
}

void FakeRuntime::report(TfLiteContext* context, const char* format, ...) {
  char message[2048];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(message, sizeof(message), format, arguments);
  va_end(arguments);
  self(context).errors_ += message;
}

}  // namespace nq_test
