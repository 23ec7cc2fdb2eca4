#include "nodes/partition_layers.h"

#include <unordered_map>

#include "nodes/operator_names.h"

namespace nq {
namespace {

// A damaged file may leave an output out, as -1.
std::string tensor_name(const TfLiteContext& context, int index) {
  const char* name = index < 0 ? nullptr : context.tensors[index].name;
  return name == nullptr ? "" : name;
}

// The steps that compute each node. An operator whose result no step writes was left to one that reads the result, and
// a nested one comes with all its readers.
std::vector<std::vector<size_t>> steps_of_nodes(const std::vector<GraphNode>& nodes, const Steps& steps) {
  std::unordered_map<int, size_t> writers;
  for (size_t i = 0; i < steps.size(); ++i) writers[steps[i]->output()] = i;
  const NodesByTensor readers = readers_by_tensor(nodes);
  std::vector<std::vector<size_t>> found(nodes.size());
  for (size_t i = nodes.size(); i-- > 0;) {
    const TfLiteIntArray& outputs = *nodes[i].node->outputs;
    for (int k = 0; k < outputs.size; ++k) {
      const auto writer = writers.find(outputs.data[k]);
      if (writer != writers.end()) found[i].push_back(writer->second);
    }
    const auto reader = outputs.size > 0 ? readers.find(outputs.data[0]) : readers.end();
    if (!found[i].empty() || reader == readers.end()) continue;
    for (const size_t k : reader->second) {
      found[i].insert(found[i].end(), found[k].begin(), found[k].end());
      if (!is_nested(nodes[i])) break;  // others become one step with it
    }
  }
  return found;
}

}  // namespace

std::vector<LayerTime> name_layers(const TfLiteContext& context, const std::vector<GraphNode>& nodes,
                                   const Steps& steps) {
  const std::vector<std::vector<size_t>> steps_of = steps_of_nodes(nodes, steps);
  std::vector<LayerTime> layers(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) layers[i].output = tensor_name(context, steps[i]->output());
  for (size_t i = 0; i < nodes.size(); ++i) {
    for (const size_t step : steps_of[i]) {
      LayerTime& layer = layers[step];
      if (is_nested(nodes[i])) {
        layer.weight = tensor_name(context, nodes[i].node->outputs->data[0]);
      } else {
        layer.name += (layer.name.empty() ? "" : " + ") + operator_name(*nodes[i].registration);
      }
    }
  }
  return layers;
}

void measure_layers(const TfLiteContext& context, const Steps& steps, const Shapes& shapes,
                    std::vector<LayerTime>* layers) {
  std::unordered_map<int, size_t> element_bytes;  // of what steps write
  for (const auto& step : steps) element_bytes[step->output()] = step->element_bytes();
  const auto bytes_of = [&](int tensor) {
    const auto known = element_bytes.find(tensor);
    const size_t of_constant = context.tensors[tensor].type == kTfLiteInt8 ? 1 : sizeof(float);
    const size_t size = known != element_bytes.end() ? known->second : of_constant;
    return static_cast<uint64_t>(num_elements(shapes.at(tensor))) * size;
  };
  for (size_t i = 0; i < steps.size(); ++i) {
    LayerTime& layer = (*layers)[i];
    layer.shape = shapes.at(steps[i]->output());
    layer.macs = static_cast<uint64_t>(steps[i]->macs());
    uint64_t tensors = bytes_of(steps[i]->output());
    for (const int input : steps[i]->inputs()) tensors += bytes_of(input);
    for (int level = 0; level < kMaxLevels; ++level) {
      layer.bytes[static_cast<size_t>(level)] = tensors + steps[i]->weight_bytes(level);
    }
  }
}

}  // namespace nq
