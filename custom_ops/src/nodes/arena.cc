#include "nodes/arena.h"

#include <algorithm>
#include <numeric>

namespace nq {
namespace {

constexpr size_t kAlignment = 64;
// Steps of a short life. Graphs have few longer ones, which are looked at every time.
// `python -m nq_tflite_models.load_time` times it.
constexpr int kShortLife = 64;

bool alive_together(const Lifetime& a, const Lifetime& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

bool is_short(const Lifetime& lifetime) { return lifetime.last_step - lifetime.first_step < kShortLife; }

// What has been placed, so that what lives at the same time is found without looking at all of it.
class Placed {
 public:
  explicit Placed(const std::vector<Lifetime>& lifetimes) : lifetimes_(lifetimes) {
    int num_steps = 0;
    for (const Lifetime& lifetime : lifetimes) num_steps = std::max(num_steps, lifetime.last_step + 1);
    alive_.resize(static_cast<size_t>(num_steps));
  }

  void add(size_t index) {
    const Lifetime& lifetime = lifetimes_[index];
    all_.push_back(index);
    if (!is_short(lifetime)) return long_lived_.push_back(index);
    for (int step = lifetime.first_step; step <= lifetime.last_step; ++step) at(step).push_back(index);
  }

  std::vector<size_t> alive_with(const Lifetime& lifetime) {
    std::vector<size_t> found;
    const auto take = [&](const std::vector<size_t>& some) {
      std::copy_if(some.begin(), some.end(), std::back_inserter(found),
                   [&](size_t other) { return alive_together(lifetime, lifetimes_[other]); });
    };
    if (!is_short(lifetime)) {
      take(all_);
      return found;
    }
    take(long_lived_);
    take(at(lifetime.first_step));
    for (int step = lifetime.first_step + 1; step <= lifetime.last_step; ++step) {  // each at its first step
      std::copy_if(at(step).begin(), at(step).end(), std::back_inserter(found),
                   [&](size_t other) { return lifetimes_[other].first_step == step; });
    }
    return found;
  }

 private:
  std::vector<size_t>& at(int step) { return alive_[static_cast<size_t>(step)]; }

  const std::vector<Lifetime>& lifetimes_;
  std::vector<size_t> all_, long_lived_;
  std::vector<std::vector<size_t>> alive_;  // of short lives, by step
};

}  // namespace

ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes) {
  ArenaPlan plan;
  plan.offsets.resize(lifetimes.size());
  std::vector<size_t> by_size(lifetimes.size());
  std::iota(by_size.begin(), by_size.end(), size_t{0});
  std::stable_sort(by_size.begin(), by_size.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  const auto aligned = [&](size_t index) {
    return (lifetimes[index].bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  Placed placed(lifetimes);
  for (const size_t index : by_size) {
    std::vector<size_t> others = placed.alive_with(lifetimes[index]);
    std::sort(others.begin(), others.end(), [&](size_t a, size_t b) { return plan.offsets[a] < plan.offsets[b]; });
    const size_t bytes = aligned(index);
    size_t offset = 0;
    for (const size_t other : others) {
      if (offset + bytes <= plan.offsets[other]) break;
      offset = std::max(offset, plan.offsets[other] + aligned(other));
    }
    plan.offsets[index] = offset;
    plan.bytes = std::max(plan.bytes, offset + bytes);
    placed.add(index);
  }
  return plan;
}

}  // namespace nq
