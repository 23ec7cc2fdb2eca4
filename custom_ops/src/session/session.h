// One interpreter's precision: the levels its nested weights use, which of them are in memory, and the switch between
// them. Thread-safe. Knows no TFLite.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/checksum/checksum.h"
#include "session/delegation.h"
#include "session/invocations.h"
#include "session/nested_weight.h"
#include "session/placement.h"
#include "session/precision.h"
#include "session/profile.h"
#include "status.h"
#include "threads/locks.h"

namespace nq {

class Session {
 public:
  // A weight of the session, or the reason why it cannot be used.
  struct Member {
    NestedWeight weight;
    Status status;
    Invocations::Node node;
    std::list<Member>::iterator place;  // of itself among the session's
  };

  struct Memory {
    uint64_t size = 0;
    uint64_t resident = 0;
    bool pageable = false;
  };

  // For the delegate. A session serves one delegate at a time.
  Status attach(const Precision& start, const ChecksumKernel& checksum);
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

  // For nodes of a delegate that keeps times: the level that a node of that graph which starts now would use, and the
  // times of a node's layers.
  void keep_times();
  int level_of(const void* graph);
  Profile::Node add_layers(std::vector<LayerTime> layers);
  void remove_layers(Profile::Node node);
  void add_times(Profile::Node node, int level, const std::vector<uint64_t>& nanoseconds);

  // For the C API; see nq.h.
  Status prepare();
  Status levels(SectionTable* table);
  Status get_level(int* level);
  Status set_level(int level, uint32_t flags, nq_switch_result* result);
  Status memory(int level, Memory* memory, bool with_resident = true);
  Status num_weights(int* count);
  Status delegation(Delegation* all);
  Status profile(int level, std::vector<LayerTime>* layers);
  Status reset_profile();
  void invocation_ended();

 private:
  class Control;
  using Snapshot = std::shared_ptr<const Placement>;

  // What an invocation reads while pages move: written under both locks, read under either.
  struct Shared {
    Precision start;
    std::list<Member> members;
    Snapshot placement;   // null until all members have been checked
    int level = -1;       // for invocations that start now; -1: not decided
    int held_level = -1;  // levels up to it are paged in; -1: none
  };
  const Shared& under_control() const NQ_REQUIRES(control_) NQ_UNCHECKED { return shared_; }
  const Shared& under_state() const NQ_REQUIRES(state_) NQ_UNCHECKED { return shared_; }

  Member* add_member(const void* graph, NestedWeight weight, Status status);
  Status place_members(Snapshot* placement) NQ_REQUIRES(control_);
  Status ensure_placed(Snapshot* placement) NQ_REQUIRES(control_);
  Status placed(Snapshot* placement);
  Status nested(Snapshot* placement);
  Status timed() NQ_EXCLUDES(state_);
  void forget_placement() NQ_REQUIRES(control_, state_);

  Status look_at_file(const Placement& placement) NQ_REQUIRES(control_);
  Status verify(const Placement& placement, int level) NQ_REQUIRES(control_);
  Status page_in_levels(const Placement& placement, int first, int last) NQ_REQUIRES(control_);
  Status page_out_levels(const Placement& placement, int first, int last) NQ_REQUIRES(control_);
  Status move_to(const Placement& placement, int level, nq_switch_result* result) NQ_REQUIRES(control_);
  void note_end() NQ_REQUIRES(state_);
  bool page_out_due() const NQ_REQUIRES(state_);
  bool graph_due() const NQ_REQUIRES(state_);
  bool is_release_due() const NQ_REQUIRES(state_);
  bool release_due() NQ_EXCLUDES(state_);
  void release_graph() NQ_REQUIRES(control_) NQ_EXCLUDES(state_);
  void release_levels() NQ_REQUIRES(control_) NQ_EXCLUDES(state_);
  void release_deferred() NQ_EXCLUDES(control_, state_);

  // control_ is held while pages move or members change, state_ only for moments: an invocation never waits for a disk.
  Mutex state_{Rank::kState};
  Mutex control_ NQ_ACQUIRED_BEFORE(state_){Rank::kControl};

  bool attached_ NQ_GUARDED_BY(state_) = false;
  bool loaded_ NQ_GUARDED_BY(state_) = false;
  std::vector<std::pair<const void*, Delegation>> delegations_ NQ_GUARDED_BY(state_);  // by graph
  Invocations invocations_ NQ_GUARDED_BY(state_);
  bool keeps_times_ NQ_GUARDED_BY(state_) = false;
  Profile profile_ NQ_GUARDED_BY(state_);
  // Loading reads all of the model's graph, and the first invocation at a level reads the biases that it folds. The
  // pages go after that: later invocations bring back the few that they read, constants of the runtime's operators.
  enum class GraphPages { kGone, kWanted, kDue } graph_pages_ NQ_GUARDED_BY(state_) = GraphPages::kGone;

  Shared shared_ NQ_GUARDED_BY(control_) NQ_GUARDED_BY(state_);

  const ChecksumKernel* checksum_ NQ_GUARDED_BY(control_) = nullptr;  // of the delegate
  std::array<bool, kMaxLevels> verified_ NQ_GUARDED_BY(control_) = {};
  FileMark mark_ NQ_GUARDED_BY(control_);             // of the file that they have been verified in
  bool drops_cache_ NQ_GUARDED_BY(control_) = false;  // a page-out is to drop the page cache too
};

}  // namespace nq
