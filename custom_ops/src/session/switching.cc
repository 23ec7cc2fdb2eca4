// How a session moves pages: in and checked before a level is used, out when no invocation uses it any more.
#include <algorithm>

#include "session/session.h"

namespace nq {
namespace {

// What moving the levels' pages moves.
uint64_t paged_bytes(const Placement& placement, int first, int last) {
  uint64_t bytes = 0;
  for (int level = first; placement.pageable() && level <= last; ++level) bytes += placement.table.sections[level].size;
  return bytes;
}

}  // namespace

// What has been verified counts as long as nobody has written to the file. Bytes behind its end must not be read: that
// ends the process.
Status Session::look_at_file(const Placement& placement) {
  FileMark now;
  if (!placement.pageable() || !placement.file.mark(&now)) return {};
  if (now.size < placement.end_in_file()) {
    return error(NQ_DATA_LOSS,
                 "the model file was truncated while in use: it has %llu bytes; expected at least %llu; copy it "
                 "again, to another name, and rename that",
                 static_cast<unsigned long long>(now.size), static_cast<unsigned long long>(placement.end_in_file()));
  }
  if (!(now == mark_)) verified_ = {};
  mark_ = now;
  return {};
}

Status Session::verify(const Placement& placement, int level) {
  if (verified_[level]) return {};
  const Section& section = placement.table.sections[level];
  const uint32_t found = checksum_->crc32(placement.sections[level].data, static_cast<size_t>(section.size));
  if (found != section.crc32) {
    const char* advice = level <= under_control().held_level
                             ? "the file has changed under the interpreter: build a new one"
                         : level == 0 ? "copy the file again"
                                      : "lower precisions still work; copy the file again";
    return error(NQ_DATA_LOSS, "the checksum of level %d (%d bits) is %08x; expected %08x; %s", level, section.bits,
                 found, section.crc32, advice);
  }
  verified_[level] = true;
  return {};
}

Status Session::page_in_levels(const Placement& placement, int first, int last) {
  if (first > last) return {};
  if (Status status = look_at_file(placement); !status.ok()) return status;
  for (int level = 0; level <= last; ++level) {
    Status status = level < first ? Status() : page_in(placement.sections[level].pages);
    if (status.ok()) status = verify(placement, level);
    if (status.ok()) continue;
    static_cast<void>(page_out_levels(placement, first, level));  // the failure to report is the first one
    return status;
  }
  return {};
}

Status Session::page_out_levels(const Placement& placement, int first, int last) {
  for (int level = last; level >= first; --level) {
    const PageRange pages = placement.sections[level].pages;
    if (Status status = page_out(pages); !status.ok()) return status;
    if (drops_cache_ && placement.pageable()) placement.file.drop(*placement.mapping, pages);
  }
  return {};
}

Status Session::move_to(const Placement& placement, int level, nq_switch_result* result) {
  const int held = under_control().held_level;
  if (Status status = page_in_levels(placement, held + 1, level); !status.ok()) return status;
  // At first nothing is known about the levels above: they are released, whatever reading the file has brought in.
  const int top = held < 0 ? placement.num_levels() - 1 : std::max(held, level);
  *result = {};
  {
    const Lock state(state_);
    result->from_level = shared_.level;
    result->to_level = shared_.level = level;
    shared_.held_level = top;
    graph_pages_ = GraphPages::kWanted;
    result->deferred = top > level && invocations_.running_above(level);
  }
  result->bytes_paged_in = paged_bytes(placement, held + 1, level);
  if (top == level || result->deferred) return {};
  Status status = page_out_levels(placement, level + 1, top);
  if (status.ok()) result->bytes_paged_out = paged_bytes(placement, level + 1, held);
  const Lock state(state_);
  if (status.ok()) {
    shared_.held_level = level;
  } else {
    shared_.level = result->from_level;
    shared_.held_level = held;
  }
  return status;
}

void Session::note_end() {
  if (graph_pages_ == GraphPages::kWanted && !invocations_.running_above(-1)) graph_pages_ = GraphPages::kDue;
}

bool Session::page_out_due() const {
  return under_state().placement && under_state().held_level > under_state().level &&
         !invocations_.running_above(under_state().level);
}

bool Session::graph_due() const { return under_state().placement && graph_pages_ == GraphPages::kDue; }

bool Session::is_release_due() const { return page_out_due() || graph_due(); }

bool Session::release_due() {
  const Lock state(state_);
  return is_release_due();
}

// Whoever holds control_ comes here after letting go of it, so a release that finds it taken is not lost.
void Session::release_deferred() {
  while (release_due()) {
    if (!control_.try_lock()) return;
    const Lock control(control_, std::adopt_lock);
    release_graph();
    release_levels();
  }
}

// Neither has a caller to report to.
void Session::release_graph() {
  {
    const Lock state(state_);
    if (!graph_due()) return;
    graph_pages_ = GraphPages::kGone;
  }
  static_cast<void>(release(under_control().placement->graph));
}

void Session::release_levels() {
  {
    const Lock state(state_);
    if (!page_out_due()) return;
  }
  static_cast<void>(page_out_levels(*under_control().placement, under_control().level + 1, under_control().held_level));
  drops_cache_ = false;
  const Lock state(state_);
  shared_.held_level = shared_.level;
}

}  // namespace nq
