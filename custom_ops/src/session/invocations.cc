#include "session/invocations.h"

#include <algorithm>

namespace nq {

void Invocations::add(const void* key, Node* node) {
  auto graph =
      std::find_if(graphs_.begin(), graphs_.end(), [&](const Graph& candidate) { return candidate.key == key; });
  if (graph == graphs_.end()) {
    graphs_.emplace_back();
    graph = std::prev(graphs_.end());
    graph->key = key;
  }
  ++graph->num_nodes;
  node->graph = &*graph;
}

void Invocations::remove(Node* node) {
  Graph* graph = node->graph;
  graph->running = false;
  if (--graph->num_nodes == 0) graphs_.remove_if([&](const Graph& candidate) { return &candidate == graph; });
  node->graph = nullptr;
}

void Invocations::start(int level) {
  end_all();
  started_ = true;
  start_level_ = level;
}

int Invocations::begin(Node* node, int level) {
  Graph& graph = *node->graph;
  // A node that comes round again means that the last invocation failed before its end.
  if (!graph.running || node->run == graph.run) {
    graph.running = true;
    graph.level = started_ ? start_level_ : level;
    graph.num_done = 0;
    ++graph.run;
  }
  node->run = graph.run;
  return graph.level;
}

void Invocations::end(Node* node) {
  Graph& graph = *node->graph;
  if (++graph.num_done == graph.num_nodes) graph.running = false;
}

int Invocations::level_of(const void* key, int level) const {
  const auto graph =
      std::find_if(graphs_.begin(), graphs_.end(), [&](const Graph& candidate) { return candidate.key == key; });
  if (graph != graphs_.end() && graph->running) return graph->level;
  return started_ ? start_level_ : level;
}

void Invocations::end_all() {
  started_ = false;
  for (Graph& graph : graphs_) graph.running = false;
}

bool Invocations::running_above(int level) const {
  if (started_ && start_level_ > level) return true;
  return std::any_of(graphs_.begin(), graphs_.end(),
                     [&](const Graph& graph) { return graph.running && graph.level > level; });
}

}  // namespace nq
