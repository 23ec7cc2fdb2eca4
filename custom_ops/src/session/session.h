// One interpreter's precision: the levels its nested weights use, which of them are in memory, and the switch between
// them. Thread-safe. Knows no TFLite.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "session/delegation.h"
#include "session/invocations.h"
#include "session/nested_weight.h"
#include "session/placement.h"
#include "session/precision.h"
#include "status.h"

namespace nq {

class Session {
 public:
  // A weight of the session, or the reason why it cannot be used.
  struct Member {
    NestedWeight weight;
    Status status;
    Invocations::Node node;
  };

  struct Memory {
    uint64_t size = 0;
    uint64_t resident = 0;
    bool pageable = false;
  };

  // For the delegate. A session serves one delegate at a time.
  Status attach(const Precision& start);
  void detach();
  void model_loaded();
  // How one graph was divided; the last word on a graph counts.
  void set_delegation(const void* graph, Delegation delegation);

  // For nodes. A weight's memory must outlive its membership. `graph` tells the runtime's graphs apart.
  Member* add(const void* graph, NestedWeight weight, Status status);
  void remove(Member* member);
  // The weight of a mark where invocations start: checked as others are, but no node of a graph.
  Member* add_start(NestedWeight weight, Status status);
  void start();

  // The level that the node must use in this invocation; the bytes of its levels stay valid until end().
  int begin(Member* member);
  void end(Member* member);

  // For the C API; see nq.h.
  Status prepare();
  Status levels(SectionTable* table);
  Status get_level(int* level);
  Status set_level(int level, uint32_t flags, nq_switch_result* result);
  Status memory(int level, Memory* memory, bool with_resident = true);
  Status num_weights(int* count);
  Status delegation(Delegation* all);
  void invocation_ended();

 private:
  class Control;
  using Snapshot = std::shared_ptr<const Placement>;

  template <typename Enter>
  Member* add_member(NestedWeight weight, Status status, const Enter& enter);
  Status place_members(Snapshot* placement);
  Status ensure_placed(Snapshot* placement);
  Status placed(Snapshot* placement);
  Status nested(Snapshot* placement);
  void forget_placement();

  Status look_at_file(const Placement& placement);
  Status verify(const Placement& placement, int level);
  Status page_in_levels(const Placement& placement, int first, int last);
  Status page_out_levels(const Placement& placement, int first, int last);
  Status move_to(const Placement& placement, int level, nq_switch_result* result);
  bool page_out_due();
  void release_deferred();

  // control_ is held while pages move or members change, state_ only for moments: an invocation never waits for a disk.
  // Where both are needed, control_ comes first.
  std::mutex control_;
  std::mutex state_;

  // Guarded by state_.
  bool attached_ = false;
  bool loaded_ = false;
  std::vector<std::pair<const void*, Delegation>> delegations_;  // by graph
  Invocations invocations_;

  // Written under both locks, read under either.
  Precision start_;
  std::list<Member> members_;
  Snapshot placement_;   // null until all members have been checked
  int level_ = -1;       // for invocations that start now; -1: not decided
  int held_level_ = -1;  // levels up to it are paged in; -1: none

  // Guarded by control_.
  std::array<bool, kMaxLevels> verified_ = {};
  FileMark mark_;             // of the file that they have been verified in
  bool drops_cache_ = false;  // a page-out is to drop the page cache too
};

}  // namespace nq
