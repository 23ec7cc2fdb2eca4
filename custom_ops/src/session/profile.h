// How long the layers of a model took: what nq_session_profile tells.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <optional>
#include <string>
#include <vector>

#include "nq.h"
#include "nq/format.h"

namespace nq {

// One layer; nq_layer_time has the meaning of the fields. What depends on the level stands by level.
struct LayerTime {
  struct Times {
    uint64_t invocations = 0, nanoseconds = 0, least = 0;
  };

  std::string name, output;
  std::optional<std::string> weight;
  nq_place place = NQ_FUSED;
  std::vector<int32_t> shape;
  uint64_t macs = 0;
  std::array<uint64_t, kMaxLevels> bytes = {};
  std::array<Times, kMaxLevels> times = {};
};

// Layers of each node, in the order they run. Not thread-safe: the session locks.
class Profile {
 public:
  using Node = std::list<std::vector<LayerTime>>::iterator;

  Node add(std::vector<LayerTime> layers) { return nodes_.insert(nodes_.end(), std::move(layers)); }
  void remove(Node node) { nodes_.erase(node); }

  // One invocation of a node, a number of nanoseconds for each of its layers.
  static void add_times(Node node, int level, const std::vector<uint64_t>& nanoseconds);

  std::vector<LayerTime> layers() const;
  void reset();

 private:
  std::list<std::vector<LayerTime>> nodes_;
};

}  // namespace nq
