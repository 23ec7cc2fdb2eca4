#include "threads/thread_pool.h"

#include <numeric>
#include <stdexcept>

#include "check.h"

namespace {

TEST(every_part_runs_once_each_time) {
  nq::ThreadPool pool;
  for (const int threads : {1, 2, 3, 1, 4}) {
    pool.resize(threads);
    CHECK_EQ(threads, pool.size());
    std::vector<int> runs(static_cast<size_t>(threads));
    for (int i = 0; i < 2000; ++i) {
      pool.run([&](int part, nq::Workspace*) { ++runs[static_cast<size_t>(part)]; });
    }
    for (const int count : runs) CHECK_EQ(2000, count);
  }
}

TEST(sizes_below_one_mean_one) {
  nq::ThreadPool pool;
  pool.resize(-1);  // what a runtime says that was asked for no number of threads
  CHECK_EQ(1, pool.size());
}

TEST(sleeping_workers_wake_up) {
  nq::ThreadPool pool;
  pool.resize(2);
  for (int i = 0; i < 5; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    int sum = 0;
    pool.run([&](int part, nq::Workspace*) {
      if (part == 1) sum = 7;
    });
    CHECK_EQ(7, sum);
  }
}

TEST(an_exception_of_any_part_reaches_the_caller) {
  nq::ThreadPool pool;
  pool.resize(3);
  for (int failing = 0; failing < 3; ++failing) {
    bool caught = false;
    try {
      pool.run([&](int part, nq::Workspace*) {
        if (part == failing) throw std::runtime_error("part");
      });
    } catch (const std::runtime_error&) {
      caught = true;
    }
    CHECK(caught);
    pool.run([](int, nq::Workspace*) {});  // and the pool goes on
  }
}

TEST(ranges_cover_everything_once) {
  for (const int64_t count : {0, 1, 2, 7, 100}) {
    for (int parts = 1; parts < 6; ++parts) {
      int64_t end = 0;
      for (int part = 0; part < parts; ++part) {
        const nq::Range range = nq::split_range(count, part, parts);
        CHECK_EQ(end, range.begin);
        end = range.end;
      }
      CHECK_EQ(count, end);
    }
  }
}

TEST(workspaces_are_aligned_and_grow) {
  nq::Workspace workspace;
  for (const size_t bytes : {size_t{1}, size_t{1000}, size_t{64}, size_t{100000}}) {
    uint8_t* memory = workspace.get(bytes);
    CHECK_EQ(uintptr_t{0}, reinterpret_cast<uintptr_t>(memory) % 64);
    memory[0] = memory[bytes - 1] = 1;
  }
}

}  // namespace
