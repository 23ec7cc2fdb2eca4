#include "threads/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <thread>

#include "check.h"
#include "forked.h"

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

TEST(parts_are_as_many_as_asked_for) {
  nq::ThreadPool pool;
  for (const int threads : {1, 2, 3}) {
    pool.resize(threads);
    for (const int parts : {0, 1, 2, 5, 100}) {
      std::vector<int> runs(static_cast<size_t>(parts));
      for (int i = 0; i < 200; ++i) {
        pool.run(parts, [&](int part, nq::Workspace*) { ++runs[static_cast<size_t>(part)]; });
      }
      for (const int count : runs) CHECK_EQ(200, count);
    }
  }
}

// Two parts that run at the same time have workspaces of their own.
TEST(workspaces_belong_to_one_part_at_a_time) {
  nq::ThreadPool pool;
  pool.resize(3);
  for (int i = 0; i < 200; ++i) {
    pool.run(12, [&](int part, nq::Workspace* workspace) {
      uint8_t* memory = workspace->get(4096);
      std::fill(memory, memory + 4096, static_cast<uint8_t>(part));
      CHECK(std::all_of(memory, memory + 4096, [&](uint8_t byte) { return byte == part; }));
    });
  }
}

// The others take the parts of a thread that is busy.
TEST(a_busy_thread_holds_nobody_up) {
  nq::ThreadPool pool;
  pool.resize(2);
  for (int i = 0; i < 20; ++i) {
    std::atomic<int> others{0};
    pool.run(9, [&](int part, nq::Workspace*) {
      if (part != 0) {
        ++others;
      } else {
        while (others != 8) std::this_thread::yield();
      }
    });
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
    std::atomic<bool> woken{false};
    pool.run([&](int part, nq::Workspace*) {
      if (part == 1) woken = true;
      while (!woken) std::this_thread::yield();  // forever, if the caller had to do both parts
    });
    CHECK(woken);
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

// Threads that run at the same time, which one alone could not.
bool two_run(nq::ThreadPool* pool) {
  std::atomic<int> running{0};
  pool->run([&](int, nq::Workspace* workspace) {
    workspace->get(1000)[0] = 1;
    ++running;
    while (running < 2) std::this_thread::yield();
  });
  return running == 2;
}

TEST(a_child_process_lets_go_of_a_pool) {
  for (const int milliseconds : {0, 3}) {  // the worker is awake, or sleeps
    auto pool = std::make_unique<nq::ThreadPool>();
    pool->resize(2);
    CHECK(two_run(pool.get()));
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    CHECK(nq_test::in_child([&] {
      pool.reset();
      return true;
    }));
    CHECK(nq_test::in_child([&] {
      pool->resize(1);
      pool.reset();
      return true;
    }));
  }
}

#if !defined(__SANITIZE_THREAD__)  // it takes a child's thread for the parent's that had the same address
TEST(a_child_process_starts_threads_of_its_own) {
  nq::ThreadPool pool;
  pool.resize(2);
  CHECK(two_run(&pool));
  std::this_thread::sleep_for(std::chrono::milliseconds(3));  // the worker sleeps
  CHECK(nq_test::in_child([&] { return two_run(&pool) && two_run(&pool); }));
  CHECK(nq_test::in_child([&] { return nq_test::in_child([&] { return two_run(&pool); }) && two_run(&pool); }));
  CHECK(nq_test::in_child([&] {
    pool.resize(3);
    pool.resize(2);
    return two_run(&pool);
  }));
  CHECK(two_run(&pool));
}

TEST(a_fork_amid_a_call_leaves_a_pool_that_works) {
  nq::ThreadPool pool;
  pool.resize(2);
  std::atomic<bool> stop{false};
  std::thread caller([&] {
    while (!stop) pool.run(20, [](int part, nq::Workspace* workspace) { workspace->get(64 << part % 8)[0] = 1; });
  });
  for (int i = 0; i < 20; ++i) CHECK(nq_test::in_child([&] { return two_run(&pool); }));
  stop = true;
  caller.join();
}
#endif

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
