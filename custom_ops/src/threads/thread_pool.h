// One pool for all fused nodes of an interpreter: fork, join, and a workspace for each thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "threads/locks.h"

namespace nq {

// Memory that a thread writes while it computes; 64-byte aligned, its content is lost between calls.
class Workspace {
 public:
  uint8_t* get(size_t bytes);

 private:
  std::unique_ptr<uint8_t[]> storage_;
  size_t capacity_ = 0;
};

class ThreadPool {
 public:
  using Task = std::function<void(int part, Workspace* workspace)>;

  ~ThreadPool();

  // Threads that run() uses, the caller's own among them; at least 1. Fewer run where the system gives no more, and
  // the results are the same. Without memory it throws and leaves the pool as it was. Not while run() is running.
  void resize(int num_threads);
  int size() const { return static_cast<int>(workspaces_.size()); }

  // For what all threads read: whoever calls run() may write it in between.
  Workspace& shared_workspace() { return shared_; }

  // Calls task(part, ...) once for each part in [0, num_parts), and waits for all. Each thread has parts of its own,
  // the same ones for every call with as many, so that what it computes in one call is in its cache in the next. A
  // thread that the system does not let run holds nobody up: the others, the caller among them, take its parts. The
  // first exception that a part throws is thrown again here.
  void run(int num_parts, const Task& task);

  // As many parts as threads.
  void run(const Task& task) { run(size(), task); }

 private:
  // A thread's parts of a call of run(): the last `state` counts of those before `end`. All of it in one cache line,
  // which is what goes from the caller's processor to the thread's.
  struct alignas(64) Share {
    // A generation, which counts calls of run(), above the number of parts that nobody has taken yet: in one word, so
    // that a late thread cannot take a part of the next call for one of its own.
    std::atomic<uint64_t> state{0};
    // Written while no part is left, read by who has taken one.
    const Task* task = nullptr;
    int end = 0;
  };

  void start_threads(int count);
  void work(int thread);
  bool wait_for_generation(int thread, uint32_t* seen);
  void take_parts(uint32_t generation, int thread);
  static bool take_part(uint32_t generation, Share* share, int* part);
  void perform(const Task& task, int part, Workspace* workspace);
  void keep_failure(std::exception_ptr failure);  // if it is the first; Clang does not look into catch blocks
  std::exception_ptr take_failure();
  void stop();

  std::vector<std::unique_ptr<Workspace>> workspaces_ = make_workspaces(1);
  Workspace shared_;
  std::vector<std::thread> threads_;
  std::unique_ptr<Share[]> shares_;  // one a thread
  uint32_t generation_ = 0;
  alignas(64) std::atomic<int> unfinished_{0};
  // A worker counts itself before it looks for work a last time, and run() hands work out before it looks for sleepers,
  // both by writing: whoever comes second sees what the first has done.
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  Mutex mutex_;
  std::condition_variable wake_;
  std::exception_ptr failure_ NQ_GUARDED_BY(mutex_);

  static std::vector<std::unique_ptr<Workspace>> make_workspaces(int count);
};

// The part'th of `parts` nearly equal ranges of [0, count).
struct Range {
  int64_t begin;
  int64_t end;
};
inline Range split_range(int64_t count, int part, int parts) {
  return {count * part / parts, count * (part + 1) / parts};
}

}  // namespace nq
