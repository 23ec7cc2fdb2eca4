#include "session/profile.h"

#include <algorithm>

namespace nq {

void Profile::add_times(Node node, int level, const std::vector<uint64_t>& nanoseconds) {
  for (size_t i = 0; i < nanoseconds.size(); ++i) {
    LayerTime::Times& times = (*node)[i].times[static_cast<size_t>(level)];
    times.least = times.invocations == 0 ? nanoseconds[i] : std::min(times.least, nanoseconds[i]);
    times.nanoseconds += nanoseconds[i];
    ++times.invocations;
  }
}

std::vector<LayerTime> Profile::layers() const {
  std::vector<LayerTime> all;
  for (const std::vector<LayerTime>& layers : nodes_) all.insert(all.end(), layers.begin(), layers.end());
  return all;
}

void Profile::reset() {
  for (std::vector<LayerTime>& layers : nodes_) {
    for (LayerTime& layer : layers) layer.times = {};
  }
}

}  // namespace nq
