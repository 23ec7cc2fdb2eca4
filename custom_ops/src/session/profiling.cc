// Session's times of layers.
#include "session/session.h"

namespace nq {

void Session::keep_times() {
  const Lock state(state_);
  keeps_times_ = true;
}

int Session::level_of(const void* graph) {
  const Lock state(state_);
  return std::max(invocations_.level_of(graph, under_state().level), 0);
}

Profile::Node Session::add_layers(std::vector<LayerTime> layers) {
  const Lock state(state_);
  return profile_.add(std::move(layers));
}

void Session::remove_layers(Profile::Node node) {
  const Lock state(state_);
  profile_.remove(node);
}

void Session::add_times(Profile::Node node, int level, const std::vector<uint64_t>& nanoseconds) {
  const Lock state(state_);
  Profile::add_times(node, level, nanoseconds);
}

Status Session::timed() {
  Snapshot placement;
  if (Status status = placed(&placement); !status.ok()) return status;
  const Lock state(state_);
  if (keeps_times_) return {};
  return error(NQ_NOT_READY, "the session keeps no times of layers; expected a delegate with the option profile=1");
}

Status Session::profile(int level, std::vector<LayerTime>* layers) {
  if (Status status = timed(); !status.ok()) return status;
  SectionTable table;
  if (Status status = levels(&table); !status.ok()) return status;
  if (level < 0 || level >= std::max(table.num_sections, 1)) {
    return error(NQ_INVALID_ARGUMENT, "level %d; expected one of the model's, 0 to %d", level,
                 std::max(table.num_sections, 1) - 1);
  }
  const Lock state(state_);
  *layers = profile_.layers();
  return {};
}

Status Session::reset_profile() {
  if (Status status = timed(); !status.ok()) return status;
  const Lock state(state_);
  profile_.reset();
  return {};
}

}  // namespace nq
