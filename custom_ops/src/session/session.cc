#include "session/session.h"

#include <algorithm>
#include <chrono>
#include <optional>

namespace nq {
namespace {

Status no_nested_weights() {
  return error(NQ_NOT_READY, "the model has no nested weights; convert it with nq_tflite to switch its precision");
}

Status no_model() {
  return error(
      NQ_NOT_READY,
      "no nested model has been loaded into the session; build an interpreter with the delegate option session");
}

Status check_level(const Placement& placement, int level) {
  if (level >= 0 && level < placement.num_levels()) return {};
  return error(NQ_INVALID_ARGUMENT, "level %d; expected one of the model's, 0 to %d", level,
               placement.num_levels() - 1);
}

}  // namespace

// Holds control_. An invocation that ends meanwhile leaves its page-out to the holder instead of waiting.
class NQ_SCOPED_LOCK Session::Control {
 public:
  explicit Control(Session* session) NQ_ACQUIRE(session->control_) : session_(session), lock_(session->control_) {}
  ~Control() NQ_RELEASE() {
    lock_.reset();
    session_->release_deferred();
  }

 private:
  Session* session_;
  std::optional<Lock> lock_;
};

Status Session::attach(const Precision& start, const ChecksumKernel& checksum) {
  const Control control(this);
  const Lock state(state_);
  if (attached_ || !shared_.members.empty()) {
    return error(NQ_INVALID_ARGUMENT,
                 "the session already serves another delegate; open a session for each interpreter");
  }
  attached_ = true;
  checksum_ = &checksum;
  shared_.start = start;
  shared_.level = -1;
  return {};
}

void Session::detach() {
  const Lock state(state_);
  attached_ = loaded_ = keeps_times_ = false;
  delegations_.clear();
}

void Session::model_loaded() {
  const Lock state(state_);
  loaded_ = true;
}

void Session::set_delegation(const void* graph, Delegation delegation) {
  const Lock state(state_);
  const auto known =
      std::find_if(delegations_.begin(), delegations_.end(), [&](const auto& entry) { return entry.first == graph; });
  if (known != delegations_.end()) {
    known->second = std::move(delegation);
  } else {
    delegations_.emplace_back(graph, std::move(delegation));
  }
}

Session::Member* Session::add(const void* graph, NestedWeight weight, Status status) {
  return add_member(graph, std::move(weight), std::move(status));
}

Session::Member* Session::add_start(NestedWeight weight, Status status) {
  return add_member(nullptr, std::move(weight), std::move(status));
}

// All or nothing: what throws leaves no member. `graph` is null for a mark, which no graph waits for.
Session::Member* Session::add_member(const void* graph, NestedWeight weight, Status status) {
  std::list<Member> added;
  added.push_back({std::move(weight), std::move(status), {}, {}});
  Member& member = added.front();
  member.place = added.begin();
  const Control control(this);
  const Lock state(state_);
  if (graph != nullptr) invocations_.add(graph, &member.node);
  forget_placement();
  shared_.members.splice(shared_.members.end(), added);
  return &member;
}

void Session::remove(Member* member) {
  const Control control(this);
  const Lock state(state_);
  forget_placement();
  if (member->node.graph != nullptr) invocations_.remove(&member->node);
  shared_.members.erase(member->place);
}

// Its addresses must not outlive the members' memory. The level stays: a runtime may take its nodes apart and build
// them again.
void Session::forget_placement() {
  shared_.placement = nullptr;
  shared_.held_level = -1;
  verified_ = {};
  drops_cache_ = false;
}

int Session::begin(Member* member) {
  const Lock state(state_);
  return invocations_.begin(&member->node, under_state().level);
}

void Session::start() {
  {
    const Lock state(state_);
    invocations_.start(under_state().level);
  }
  release_deferred();
}

void Session::end(Member* member) {
  bool due = false;
  {
    const Lock state(state_);
    invocations_.end(&member->node);
    note_end();
    due = is_release_due();
  }
  if (due) release_deferred();
}

void Session::invocation_ended() {
  {
    const Lock state(state_);
    invocations_.end_all();
    note_end();
  }
  release_deferred();
}

Status Session::place_members(Snapshot* placement) {
  std::vector<const NestedWeight*> weights;
  for (const Member& member : under_control().members) {
    if (!member.status.ok()) return member.status;
    weights.push_back(&member.weight);
  }
  auto placed = std::make_shared<Placement>();
  if (Status status = place(weights, placed.get()); !status.ok()) return status;
  int level = under_control().level;
  if (level < 0 || level >= placed->num_levels()) {
    if (Status status = find_level(under_control().start, placed->table, &level); !status.ok()) return status;
  }
  const Lock state(state_);
  shared_.level = level;
  *placement = shared_.placement = std::move(placed);
  return {};
}

// Null without nested weights.
Status Session::ensure_placed(Snapshot* placement) {
  {
    const Lock state(state_);
    if (!loaded_) return no_model();
    *placement = under_state().placement;
  }
  return *placement || under_control().members.empty() ? Status() : place_members(placement);
}

Status Session::placed(Snapshot* placement) {
  {
    const Lock state(state_);
    *placement = loaded_ ? under_state().placement : nullptr;
  }
  if (*placement) return {};
  const Control control(this);
  return ensure_placed(placement);
}

Status Session::nested(Snapshot* placement) {
  if (Status status = placed(placement); !status.ok()) return status;
  if (*placement) return {};
  return no_nested_weights();
}

Status Session::prepare() {
  const Control control(this);
  Snapshot placement;
  if (Status status = ensure_placed(&placement); !status.ok()) return status;
  if (!placement || under_control().held_level >= 0) return {};
  nq_switch_result result = {};
  return move_to(*placement, under_control().level, &result);
}

Status Session::levels(SectionTable* table) {
  Snapshot placement;
  if (Status status = placed(&placement); !status.ok()) return status;
  *table = placement ? placement->table : SectionTable();
  return {};
}

Status Session::num_weights(int* count) {
  Snapshot placement;
  if (Status status = placed(&placement); !status.ok()) return status;
  *count = placement ? placement->num_weights : 0;
  return {};
}

Status Session::delegation(Delegation* all) {
  const Lock state(state_);
  if (!loaded_) return no_model();
  Delegation sum;
  for (const auto& [graph, delegation] : delegations_) {
    sum.operators.insert(sum.operators.end(), delegation.operators.begin(), delegation.operators.end());
    sum.num_partitions += delegation.num_partitions;
  }
  *all = std::move(sum);
  return {};
}

Status Session::get_level(int* level) {
  Snapshot placement;
  if (Status status = nested(&placement); !status.ok()) return status;
  const Lock state(state_);
  *level = under_state().level;
  return {};
}

Status Session::memory(int level, Memory* memory, bool with_resident) {
  Snapshot placement;
  if (Status status = nested(&placement); !status.ok()) return status;
  if (Status status = check_level(*placement, level); !status.ok()) return status;
  const uint64_t size = placement->table.sections[level].size;
  memory->size = memory->resident = size;
  memory->pageable = placement->pageable();
  if (!with_resident || !memory->pageable) return {};
  return resident_bytes(placement->sections[level].data, static_cast<size_t>(size), &memory->resident);
}

Status Session::set_level(int level, uint32_t flags, nq_switch_result* result) {
  const auto start = std::chrono::steady_clock::now();
  const Control control(this);
  Snapshot placement;
  if (Status status = ensure_placed(&placement); !status.ok()) return status;
  if (!placement) return no_nested_weights();
  if (Status status = check_level(*placement, level); !status.ok()) return status;
  if ((flags & ~static_cast<uint32_t>(NQ_DROP_PAGE_CACHE)) != 0) {
    return error(NQ_INVALID_ARGUMENT, "flags 0x%x; expected 0 or NQ_DROP_PAGE_CACHE", flags);
  }
  const bool drops = (flags & NQ_DROP_PAGE_CACHE) != 0, dropped = drops_cache_;
  if (drops && placement->pageable() && !placement->file.is_open()) {
    return error(
        NQ_SYSTEM,
        "'%s' is not the model's file any more, so its cached pages cannot be dropped; switch without dropping "
        "the page cache",
        placement->mapping->path.c_str());
  }
  drops_cache_ = drops;
  Status status = move_to(*placement, level, result);
  if (!status.ok()) {
    drops_cache_ = dropped;
  } else if (!result->deferred) {
    drops_cache_ = false;
  }
  result->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return status;
}

}  // namespace nq
