#include "nodes/arena.h"

#include <algorithm>
#include <numeric>

namespace nq {
namespace {

constexpr size_t kAlignment = 64;

bool alive_together(const Lifetime& a, const Lifetime& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

}  // namespace

ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes) {
  ArenaPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<size_t> by_size(lifetimes.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  std::vector<size_t> placed;  // by offset
  for (const size_t index : by_size) {
    const size_t bytes = (lifetimes[index].bytes + kAlignment - 1) / kAlignment * kAlignment;
    size_t offset = 0;
    for (const size_t other : placed) {
      if (!alive_together(lifetimes[index], lifetimes[other])) continue;
      if (offset + bytes <= plan.offsets[other]) break;
      offset =
          std::max(offset, plan.offsets[other] + (lifetimes[other].bytes + kAlignment - 1) / kAlignment * kAlignment);
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + bytes);
    const auto behind = std::upper_bound(placed.begin(), placed.end(), offset,
                                         [&](size_t at, size_t other) { return at < plan.offsets[other]; });
    placed.insert(behind, index);
  }
  return plan;
}

}  // namespace nq
