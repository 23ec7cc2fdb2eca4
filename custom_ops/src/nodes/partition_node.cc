#include "nodes/partition_node.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "nodes/arena.h"
#include "nodes/bands.h"
#include "nodes/graph.h"
#include "nodes/layer_clock.h"
#include "nodes/node_calls.h"
#include "nodes/partition_layers.h"
#include "operators/layer_operator.h"
#include "operators/lookup_operator.h"
#include "operators/operator.h"
#include "operators/rewriting.h"

namespace nq {
namespace {

// The first nested operator that gives each weight, by tensor.
using NestedWeights = std::unordered_map<int, const GraphNode*>;

NestedWeights nested_weights(const std::vector<GraphNode>& nodes) {
  NestedWeights weights;
  for (const GraphNode& entry : nodes) {
    if (is_nested(entry) && entry.node->outputs->size > 0) weights.try_emplace(entry.node->outputs->data[0], &entry);
  }
  return weights;
}

// The first one that gives the node an input; null if none does.
const GraphNode* nested_weight_of(const NestedWeights& weights, const TfLiteNode& node) {
  const GraphNode* first = nullptr;
  for (int i = 0; i < node.inputs->size; ++i) {
    const auto found = weights.find(node.inputs->data[i]);
    if (found != weights.end() && (first == nullptr || found->second < first)) first = found->second;
  }
  return first;
}

class PartitionNode {
 public:
  PartitionNode(TfLiteContext* context, const NodeEnvironment& environment, const TfLiteDelegateParams& params)
      : environment_(environment) {
    std::vector<GraphNode> graph;
    const bool read = read_nodes(context, *params.nodes_to_replace, &graph);
    status_ = read ? build(*context, context, graph)
                   : error(NQ_SYSTEM, "the runtime does not give the delegate the nodes that it claimed");
    const TfLiteIntArray& outputs = *params.output_tensors;
    outputs_.insert(outputs.data, outputs.data + outputs.size);
    absorb_paddings(outputs_, &steps_);
    fold_tables(outputs_, &steps_);
    fuse_normalizations(outputs_, environment.kernels, &steps_);
    fuse_rms_normalizations(outputs_, environment.kernels, &steps_);
    fuse_attention(outputs_, environment.kernels, &steps_);
    fuse_functions(outputs_, environment.kernels, &steps_);
    share_quantization(&steps_);
    share_ranges(&steps_);
    if (environment.profile && status_.ok()) layers_ = name_layers(*context, graph, steps_);
  }
  PartitionNode(const PartitionNode&) = delete;
  PartitionNode& operator=(const PartitionNode&) = delete;

  Status prepare(TfLiteContext* context) {
    if (!status_.ok()) return status_;
    if (Status status = environment_.session->prepare(); !status.ok()) return status;
    const int num_threads = environment_.num_threads;
    environment_.threads->resize(num_threads > 0 ? num_threads : context->recommended_num_threads);
    if (Status status = reshape(context); !status.ok()) return status;
    place_tensors();
    if (environment_.profile) {
      measure_layers(*context, steps_, shapes_, &layers_);
      clock_ = std::make_unique<LayerClock>(environment_.session, context, layers_);
    }
    return {};
  }

  void invoke(TfLiteContext* context) {
    uint8_t* arena = environment_.arena->get(arena_bytes_);
    point_at_tensors(*context, arena);
    if (clock_ != nullptr) return invoke_timed(arena);
    for (Work& work : works_) {
      if (work.bands) {
        work.bands->run(tensors_, arena + work.bands_offset, environment_.threads.get());
      } else {
        steps_[work.first]->run(tensors_, environment_.threads.get());
      }
    }
  }

 private:
  void invoke_timed(uint8_t* arena) {
    ThreadPool* threads = environment_.threads.get();
    clock_->begin();
    for (Work& work : works_) {
      if (work.bands) {
        work.bands->run(tensors_, arena + work.bands_offset, threads, clock_.get(), work.first);
      } else {
        clock_->time(work.first, [&] { steps_[work.first]->run(tensors_, threads); });
      }
    }
    clock_->end();
  }

  Status build(const TfLiteContext& context, const void* graph, const std::vector<GraphNode>& nodes) {
    const NestedWeights weights = nested_weights(nodes);
    for (const GraphNode& entry : nodes) {
      if (is_nested(entry)) continue;  // comes with its reader
      const GraphNode* nested = nested_weight_of(weights, *entry.node);
      if (nested != nullptr) {
        steps_.push_back(make_nested(context, graph, *nested->node, entry));
        continue;
      }
      std::string reason;
      Steps made = make_neighbour(context, environment_, *entry.node, *entry.registration, &reason);
      if (made.empty()) return error(NQ_SYSTEM, "a node changed after it was claimed: %s", reason.c_str());
      std::move(made.begin(), made.end(), std::back_inserter(steps_));
    }
    return {};
  }

  std::unique_ptr<Operator> make_nested(const TfLiteContext& context, const void* graph, const TfLiteNode& nested,
                                        const GraphNode& reader) {
    const auto make = is_lookup(*reader.registration) ? make_lookup : make_layer;
    return make(context, graph, environment_, nested, *reader.node, *reader.registration);
  }

  static Status no_data(const TfLiteTensor& tensor) {
    return error(NQ_INVALID_MODEL, "tensor '%s' has no data; expected an input, a constant or an operator's output",
                 tensor.name == nullptr ? "" : tensor.name);
  }

  static Status too_large() {
    return error(NQ_INVALID_MODEL, "a tensor would have 2^31 elements or more; expected fewer: choose smaller inputs");
  }

  Status reshape(TfLiteContext* context) {
    Shapes shapes;
    for (const auto& step : steps_) {
      for (const int index : step->inputs()) {
        const TfLiteIntArray& dims = *context->tensors[index].dims;
        const auto known = shapes.try_emplace(index, dims.data, dims.data + dims.size).first;  // unless a step wrote it
        if (!is_shape(known->second)) return too_large();
      }
      Shape& output = shapes[step->output()];
      if (Status status = step->reshape(shapes, &output); !status.ok()) return status;
      if (!is_shape(output)) return too_large();
      if (outputs_.count(step->output()) == 0) continue;
      const Status status =
          resize(context, step->output(), new_int_array(static_cast<int>(output.size()), output.data()));
      if (!status.ok()) return status;
    }
    shapes_ = std::move(shapes);
    return {};
  }

  // A step, or steps that are computed in bands.
  struct Work {
    size_t first, last;
    std::optional<BandedSteps> bands;
    size_t bands_offset = 0;  // of their memory in the arena
  };

  // The arena moves where a layer elsewhere wants more of it, the runtime's tensors at any time.
  void point_at_tensors(const TfLiteContext& context, uint8_t* arena) {
    static uint8_t nothing;  // of an empty batch
    if (!is_placed_ || arena != placed_in_) {
      for (const auto& [index, offset] : internal_) tensors_.at(index) = arena == nullptr ? &nothing : arena + offset;
      placed_in_ = arena;
      is_placed_ = true;
    }
    for (const auto& [index, pointer] : external_) {
      *pointer = static_cast<uint8_t*>(context.tensors[index].data);
      if (*pointer != nullptr) continue;
      if (num_elements(shapes_.at(index)) > 0) throw RunError{no_data(context.tensors[index])};
      *pointer = &nothing;
    }
  }

  void divide_work() {
    works_.clear();
    const std::vector<size_t> last = find_bands(steps_, shapes_, outputs_);
    for (size_t i = 0; i < steps_.size(); i = last[i] + 1) {
      Work& work = works_.emplace_back(Work{i, last[i], {}});
      if (work.first == work.last) continue;
      std::vector<Operator*> together;
      for (size_t k = work.first; k <= work.last; ++k) together.push_back(steps_[k].get());
      work.bands.emplace(together, environment_.threads->size());
    }
  }

  size_t bytes_of(int tensor, const Operator& writer) const {
    return static_cast<size_t>(num_elements(shapes_.at(tensor))) * writer.element_bytes();
  }

  // The last work that reads each tensor.
  std::map<int, int> last_readings() const {
    std::map<int, int> last;
    for (size_t i = 0; i < works_.size(); ++i) {
      for (size_t k = works_[i].first; k <= works_[i].last; ++k) {
        for (const int input : steps_[k]->inputs()) last[input] = static_cast<int>(i);
      }
    }
    return last;
  }

  // Of the last step's inputs one that nobody else reads any more, in whose place its output may lie; -1 if none.
  int replaced_by(const Work& work, int position, const std::map<int, int>& last_readings,
                  const std::map<int, size_t>& homes) const {
    const Operator& step = *steps_[work.last];
    for (const int input : step.inputs()) {
      const auto reads = [&](size_t k) {
        const std::vector<int>& inputs = steps_[k]->inputs();
        return std::find(inputs.begin(), inputs.end(), input) != inputs.end();
      };
      bool is_free = homes.count(input) != 0 && last_readings.at(input) == position && step.may_replace(input);
      for (size_t k = work.first; is_free && k < work.last; ++k) is_free = !reads(k);
      if (is_free) return input;
    }
    return -1;
  }

  // Tensors that stay within the partition live in the arena; the runtime has the others. Those between steps that are
  // computed in bands are nowhere.
  void place_tensors() {
    divide_work();
    const std::map<int, int> last = last_readings();
    std::vector<Lifetime> wanted;
    std::map<int, size_t> homes;  // of tensors among the wanted
    std::vector<size_t> bands(works_.size());
    tensors_.clear();
    for (const auto& [index, shape] : shapes_) tensors_[index] = nullptr;
    for (size_t i = 0; i < works_.size(); ++i) {
      const Work& work = works_[i];
      const int now = static_cast<int>(i), output = steps_[work.last]->output();
      for (size_t k = work.first; k < work.last; ++k) tensors_.erase(steps_[k]->output());
      if (work.bands) {
        bands[i] = wanted.size();
        wanted.push_back({work.bands->bytes(), now, now});
      }
      if (outputs_.count(output) != 0) continue;
      const auto read = last.find(output);
      const int end = read == last.end() ? now : read->second;
      const int replaced = replaced_by(work, now, last, homes);
      const size_t home = replaced < 0 ? wanted.size() : homes.at(replaced);
      if (replaced < 0) {
        wanted.push_back({bytes_of(output, *steps_[work.last]), now, end});
      } else {
        wanted[home].last_step = end;
      }
      homes[output] = home;
    }
    const ArenaPlan plan = plan_arena(wanted);
    arena_bytes_ = plan.bytes;
    environment_.arena->get(arena_bytes_);  // now rather than at the first inference
    internal_.clear();
    for (const auto& [index, home] : homes) internal_[index] = plan.offsets[home];
    external_.clear();
    for (auto& [index, pointer] : tensors_) {
      if (internal_.count(index) == 0) external_.emplace_back(index, &pointer);
    }
    is_placed_ = false;
    for (size_t i = 0; i < works_.size(); ++i) {
      if (works_[i].bands) works_[i].bands_offset = plan.offsets[bands[i]];
    }
  }

  NodeEnvironment environment_;
  Status status_;
  Steps steps_;
  std::vector<LayerTime> layers_;  // of the steps, if their times are kept
  std::unique_ptr<LayerClock> clock_;
  std::unordered_set<int> outputs_;  // what others read
  std::vector<Work> works_;
  std::map<int, size_t> internal_;  // what only the partition knows, by place in the arena
  size_t arena_bytes_ = 0;
  Shapes shapes_;
  Pointers tensors_;
  std::vector<std::pair<int, uint8_t**>> external_;  // the runtime's, with their places in tensors_
  uint8_t* placed_in_ = nullptr;                     // the arena that the others point into
  bool is_placed_ = false;
};

}  // namespace

TfLiteRegistration partition_node_registration() { return node_registration<PartitionNode>("NqPartition"); }

}  // namespace nq
