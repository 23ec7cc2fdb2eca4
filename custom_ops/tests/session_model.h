// A session with a loaded model, for tests: its weights are the nodes of one graph or two.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "check.h"
#include "format/crc32.h"
#include "nested_file.h"
#include "session/session.h"

namespace nq_test {

using nq::NestedWeight;
using nq::Precision;
using nq::Session;
using nq::Status;

inline constexpr Precision kFull = {Precision::Kind::kFull, 0};
inline constexpr Precision kPart = {Precision::Kind::kPart, 0};
inline constexpr nq::ChecksumKernel kChecksum = {"scalar", [] { return true; }, nq::crc32};

// A session with a loaded model: its weights are the nodes of one graph, run in order.
struct Model {
  explicit Model(const NestedFile& nested, const uint8_t* base, const Precision& start = kFull, int num_graphs = 1) {
    CHECK_OK(session.attach(start, kChecksum));
    session.model_loaded();
    for (int graph = 0; graph < num_graphs; ++graph) {
      for (NestedWeight& weight : nested.weights_at(base)) {
        nodes.push_back(session.add(&graphs[graph], std::move(weight), Status()));
      }
    }
  }
  ~Model() {
    for (Session::Member* node : nodes) session.remove(node);
    session.detach();
  }

  // The level that the node used.
  int run(size_t node) {
    const int level = session.begin(nodes[node]);
    session.end(nodes[node]);
    return level;
  }

  // A whole invocation; its nodes agree on the level.
  int invoke() {
    const int level = run(0);
    for (size_t node = 1; node < nodes.size(); ++node) CHECK_EQ(level, run(node));
    return level;
  }

  nq_switch_result set_level(int level, uint32_t flags = 0) {
    nq_switch_result result = {};
    CHECK_OK(session.set_level(level, flags, &result));
    return result;
  }

  int level() {
    int level = -1;
    CHECK_OK(session.get_level(&level));
    return level;
  }

  Session::Memory memory(int level) {
    Session::Memory memory;
    CHECK_OK(session.memory(level, &memory));
    return memory;
  }

  bool resident(int level) {
    const Session::Memory held = memory(level);
    CHECK(held.resident == 0 || held.resident == held.size);
    return held.resident != 0;
  }

  const int graphs[2] = {};
  Session session;
  std::vector<Session::Member*> nodes;
};

struct MappedModel {
  explicit MappedModel(const Precision& start = kFull, int num_graphs = 1)
      : model(nested, mapped.data(), start, num_graphs) {}
  NestedFile nested{example_weights()};
  MappedFile mapped{nested.bytes};
  Model model;
};

}  // namespace nq_test
