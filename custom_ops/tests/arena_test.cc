#include "nodes/arena.h"

#include <algorithm>
#include <random>

#include "check.h"

namespace {

bool alive_together(const nq::Lifetime& a, const nq::Lifetime& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

std::vector<nq::Lifetime> any_lifetimes(std::mt19937* random) {
  std::vector<nq::Lifetime> lifetimes((*random)() % 60);
  for (nq::Lifetime& lifetime : lifetimes) {
    lifetime.first_step = static_cast<int>((*random)() % 200);
    lifetime.last_step = lifetime.first_step + static_cast<int>((*random)() % ((*random)() % 4 == 0 ? 150 : 5));
    lifetime.bytes = (*random)() % 1000;
  }
  return lifetimes;
}

// By definition: the lowest multiple of 64 at which it overlaps none of those before it that live with it.
std::vector<size_t> place_naively(const std::vector<nq::Lifetime>& lifetimes) {
  const auto end = [&](size_t i, size_t offset) { return offset + (lifetimes[i].bytes + 63) / 64 * 64; };
  std::vector<size_t> offsets(lifetimes.size()), order(lifetimes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return lifetimes[a].bytes > lifetimes[b].bytes; });
  for (auto next = order.begin(); next != order.end(); ++next) {
    const auto fits = [&](size_t other) {
      return !alive_together(lifetimes[*next], lifetimes[other]) || end(*next, offsets[*next]) <= offsets[other] ||
             end(other, offsets[other]) <= offsets[*next];
    };
    while (!std::all_of(order.begin(), next, fits)) offsets[*next] += 64;
  }
  return offsets;
}

TEST(each_lies_at_the_lowest_place) {
  std::mt19937 random(4);
  for (int round = 0; round < 300; ++round) {
    const std::vector<nq::Lifetime> lifetimes = any_lifetimes(&random);
    CHECK(place_naively(lifetimes) == nq::plan_arena(lifetimes).offsets);
  }
}

TEST(tensors_that_live_together_never_overlap) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const std::vector<nq::Lifetime> lifetimes = any_lifetimes(&random);
    const nq::ArenaPlan plan = nq::plan_arena(lifetimes);
    CHECK_EQ(lifetimes.size(), plan.offsets.size());
    for (size_t i = 0; i < lifetimes.size(); ++i) {
      CHECK_EQ(size_t{0}, plan.offsets[i] % 64);
      CHECK(plan.offsets[i] + lifetimes[i].bytes <= plan.bytes);
      for (size_t j = 0; j < i; ++j) {
        const bool apart = plan.offsets[i] + lifetimes[i].bytes <= plan.offsets[j] ||
                           plan.offsets[j] + lifetimes[j].bytes <= plan.offsets[i];
        CHECK(apart || !alive_together(lifetimes[i], lifetimes[j]));
      }
    }
  }
}

TEST(a_chain_needs_two_tensors) {
  std::vector<nq::Lifetime> chain;
  for (int i = 0; i < 10; ++i) chain.push_back({640, i, i + 1});
  CHECK_EQ(size_t{1280}, nq::plan_arena(chain).bytes);
}

TEST(nothing_needs_nothing) { CHECK_EQ(size_t{0}, nq::plan_arena({}).bytes); }

}  // namespace
