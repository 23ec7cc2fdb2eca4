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
  std::vector<uint8_t> storage_;
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

  // Calls task(part, ...) once for each part in [0, size()), part 0 on the calling thread, and waits for all. The first
  // exception that a part throws is thrown again here.
  void run(const Task& task);

 private:
  void work(int part, uint32_t seen);  // seen: tasks before the thread's first
  uint32_t wait_for_task(uint32_t seen);
  void perform(int part);
  void stop();

  std::vector<std::unique_ptr<Workspace>> workspaces_ = make_workspaces(1);
  Workspace shared_;
  std::vector<std::thread> threads_;
  const Task* task_ = nullptr;
  std::atomic<uint32_t> generation_{0};  // counts tasks; workers wait for it to change
  std::atomic<int> running_{0};
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
