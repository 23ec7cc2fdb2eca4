#include "nodes/hidden_levels.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "format/flatbuffer.h"
#include "format/option_block.h"
#include "nodes/graph.h"
#include "operators/tensors.h"
#include "paging/file_mapping.h"
#include "paging/pages.h"

namespace nq {
namespace {

// Fields of the schema's tables.
enum ModelField { kModelSubgraphs = 2, kModelBuffers = 4 };
enum SubgraphField { kSubgraphTensors = 0 };
enum TensorField { kTensorBuffer = 2, kTensorName = 3 };
enum BufferField { kBufferOffset = 1, kBufferSize = 2 };

constexpr uint32_t kMaxSubgraphs = 1 << 12;  // to look at: a hostile file may have one for each of its bytes
constexpr uint64_t kModelAlignment = 4;      // of a model inside another file, an Android package

bool is_hidden(const TfLiteTensor* tensor) {
  return tensor != nullptr && tensor->data == nullptr && tensor->allocation_type != kTfLiteMmapRo &&
         tensor->name != nullptr;
}

// A node whose options are damaged has none here; binding it says what is wrong with them.
int num_levels(const TfLiteNode& node) {
  const int size = node.custom_initial_data == nullptr ? 0 : node.custom_initial_data_size;
  OptionBlock block;
  const Status status =
      parse_option_block({static_cast<const uint8_t*>(node.custom_initial_data), static_cast<size_t>(size)}, &block);
  return status.ok() && block.num_levels <= node.inputs->size ? block.num_levels : 0;
}

std::vector<int> hidden_levels(const TfLiteContext& context, const std::vector<GraphNode>& graph) {
  std::vector<int> hidden;
  for (const GraphNode& entry : graph) {
    for (int k = 0; is_nested(entry) && k < num_levels(*entry.node); ++k) {
      const int index = entry.node->inputs->data[k];
      if (is_hidden(tensor_at(context, index))) hidden.push_back(index);
    }
  }
  return hidden;
}

// The tensors of the subgraph whose tensor `index` has its name at this address: the runtime's names are the file's.
std::optional<FlatbufferVector> tensors_named_at(const FlatbufferTable& model, int index, const char* name) {
  const auto subgraphs = model.vector(kModelSubgraphs);
  for (uint32_t i = 0; subgraphs && i < std::min(subgraphs->size(), kMaxSubgraphs); ++i) {
    const auto subgraph = subgraphs->table(i);
    const auto tensors = subgraph ? subgraph->vector(kSubgraphTensors) : std::nullopt;
    const auto tensor = tensors ? tensors->table(static_cast<uint64_t>(index)) : std::nullopt;
    if (tensor && tensor->vector_data(kTensorName) == reinterpret_cast<const uint8_t*>(name)) return tensors;
  }
  return std::nullopt;
}

struct Model {
  ByteSpan file;
  FlatbufferVector buffers, tensors;
};

// A mapping starts at a page of its file, the model at the latest one page later.
std::optional<Model> find_model(const FileMapping& mapping, int index, const char* name) {
  const uintptr_t end = file_end(mapping), last = std::min(end, mapping.start + page_size());
  for (uintptr_t start = mapping.start; start < last; start += kModelAlignment) {
    const ByteSpan file = {reinterpret_cast<const uint8_t*>(start), end - start};
    const auto root = flatbuffer_root(file);
    const auto buffers = root ? root->vector(kModelBuffers) : std::nullopt;
    const auto tensors = buffers ? tensors_named_at(*root, index, name) : std::nullopt;
    if (tensors) return Model{file, *buffers, *tensors};
  }
  return std::nullopt;
}

Status show(const Model& model, int index, TfLiteTensor* tensor) {
  const auto entry = model.tensors.table(static_cast<uint64_t>(index));
  const auto buffer = entry ? model.buffers.table(entry->u32(kTensorBuffer)) : std::nullopt;
  const uint64_t offset = buffer ? buffer->u64(kBufferOffset) : 0;
  if (offset <= 1) return {};  // no such constant: 1 is a placeholder
  const uint64_t size = buffer->u64(kBufferSize);
  if (offset > model.file.size || size > model.file.size - offset || size != tensor->bytes) {
    return error(NQ_INVALID_MODEL,
                 "tensor '%s' of %zu bytes has %llu bytes from byte %llu on; expected as many, inside the file of %zu; "
                 "copy the file again",
                 tensor->name, tensor->bytes, static_cast<unsigned long long>(size),
                 static_cast<unsigned long long>(offset), model.file.size);
  }
  tensor->data = const_cast<uint8_t*>(model.file.data + offset);
  tensor->allocation_type = kTfLiteMmapRo;
  return {};
}

}  // namespace

Status show_hidden_levels(TfLiteContext* context) {
  std::vector<GraphNode> graph;
  if (!read_graph(context, &graph)) return error(NQ_SYSTEM, "the runtime does not give the delegate its graph");
  const std::vector<int> hidden = hidden_levels(*context, graph);
  if (hidden.empty()) return {};
  const char* name = context->tensors[hidden[0]].name;
  const auto mapping = find_file_mapping(name, 1);
  const auto model = mapping ? find_model(*mapping, hidden[0], name) : std::nullopt;
  if (!model) {
    return error(NQ_INVALID_ARGUMENT,
                 "the runtime hides the levels, and the model is not mapped from a file; expected one that is: load it "
                 "with TfLiteModelCreateFromFile, or from bytes with another runtime");
  }
  for (const int index : hidden) {
    if (Status status = show(*model, index, &context->tensors[index]); !status.ok()) return status;
  }
  return {};
}

}  // namespace nq
