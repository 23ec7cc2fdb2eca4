#include "nodes/arena.h"

#include <algorithm>
#include <random>

#include "check.h"

namespace {

bool alive_together(const nq::Lifetime& a, const nq::Lifetime& b) {
  return a.first_step <= b.last_step && b.first_step <= a.last_step;
}

TEST(tensors_that_live_together_never_overlap) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    std::vector<nq::Lifetime> lifetimes(random() % 30);
    for (nq::Lifetime& lifetime : lifetimes) {
      lifetime.first_step = static_cast<int>(random() % 20);
      lifetime.last_step = lifetime.first_step + static_cast<int>(random() % 5);
      lifetime.bytes = random() % 1000;
    }
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
