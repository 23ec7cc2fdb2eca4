// One pool for all fused nodes of an interpreter: fork, join, and a workspace for each thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

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

  // Threads that run() uses, the caller's own among them; at least 1. Not while run() is running.
  void resize(int num_threads);
  int size() const { return static_cast<int>(workspaces_.size()); }

  // For what all threads read: whoever calls run() may write it in between.
  Workspace& shared_workspace() { return shared_; }

  // Calls task(part, ...) once for each part in [0, num_parts), each on whichever thread is free next, and waits for
  // all. A thread that the system does not let run holds nobody up: the others, the caller among them, take its parts.
  // The first exception that a part throws is thrown again here.
  void run(int num_parts, const Task& task);

  // As many parts as threads.
  void run(const Task& task) { run(size(), task); }

 private:
  void work(int thread, uint32_t seen);  // seen: the generation before the thread's first
  uint32_t wait_for_generation(uint32_t seen);
  void take_parts(uint32_t generation, Workspace* workspace);
  bool take_part(uint32_t generation, int* part);
  void perform(int part, Workspace* workspace);
  void stop();

  std::vector<std::unique_ptr<Workspace>> workspaces_ = make_workspaces(1);
  Workspace shared_;
  std::vector<std::thread> threads_;
  // Written while no part is left, read by who has taken one.
  const Task* task_ = nullptr;
  int num_parts_ = 0;
  // A generation, which counts calls of run(), above the number of its parts that nobody has taken yet: in one word, so
  // that a late thread cannot take a part of the next call for one of its own.
  std::atomic<uint64_t> state_{0};
  std::atomic<int> unfinished_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::exception_ptr failure_;  // guarded by mutex_

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
