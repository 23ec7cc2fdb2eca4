// Times the layers of a node, and keeps the times in the session for as long as it lives.
#pragma once

#include <chrono>
#include <memory>
#include <utility>
#include <vector>

#include "session/session.h"

namespace nq {

class LayerClock {
 public:
  LayerClock(std::shared_ptr<Session> session, const void* graph, std::vector<LayerTime> layers)
      : session_(std::move(session)), graph_(graph), nanoseconds_(layers.size()) {
    node_ = session_->add_layers(std::move(layers));
  }
  ~LayerClock() { session_->remove_layers(node_); }
  LayerClock(const LayerClock&) = delete;
  LayerClock& operator=(const LayerClock&) = delete;

  // Around an invocation. One that throws before the end leaves no times.
  void begin() {
    level_ = session_->level_of(graph_);
    nanoseconds_.assign(nanoseconds_.size(), 0);
  }
  void end() { session_->add_times(node_, level_, nanoseconds_); }

  // Adds the time of work() to that of a layer.
  template <typename Work>
  void time(size_t layer, const Work& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const std::chrono::nanoseconds passed = std::chrono::steady_clock::now() - start;
    nanoseconds_[layer] += static_cast<uint64_t>(passed.count());
  }

 private:
  std::shared_ptr<Session> session_;
  const void* graph_;
  std::vector<uint64_t> nanoseconds_;  // of the invocation that runs
  int level_ = 0;
  Profile::Node node_;
};

}  // namespace nq
