// One pool for all fused nodes of an interpreter: fork, join, and a workspace for each thread.
#pragma once

#include <cstdint>
#include <memory>

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
  // What a call of run() computes: a reference to the caller's function, which std::function would copy to the heap.
  class Task {
   public:
    template <typename Function>
    Task(const Function& function)  // NOLINT: any function is a task
        : function_(&function), call_([](const void* function, int part, Workspace* workspace) {
            (*static_cast<const Function*>(function))(part, workspace);
          }) {}
    void operator()(int part, Workspace* workspace) const { call_(function_, part, workspace); }

   private:
    const void* function_;
    void (*call_)(const void* function, int part, Workspace* workspace);
  };

  ThreadPool();
  ~ThreadPool();

  // Threads that run() uses, the caller's own among them; at least 1. Fewer run where the system gives no more, and
  // the results are the same. Without memory it throws and leaves the pool as it was. Not while run() is running.
  void resize(int num_threads);
  int size() const { return size_; }

  // For what all threads read: whoever calls run() may write it in between.
  Workspace& shared_workspace() { return shared_; }

  // Calls task(part, ...) once for each part in [0, num_parts), and waits for all. Each thread has parts of its own,
  // the same ones for every call with as many, so that what it computes in one call is in its cache in the next. A
  // thread that the system does not let run holds nobody up: the others, the caller among them, take its parts. The
  // first exception that a part throws is thrown again here. In the child of a fork() it starts threads anew.
  void run(int num_parts, const Task& task);

  // As many parts as threads.
  void run(const Task& task) { run(size(), task); }

 private:
  class Crew;  // the threads, and all that they touch

  void replace_crew(std::unique_ptr<Crew> crew);
  void dismiss_crew();

  int size_ = 1;
  Workspace shared_;
  std::unique_ptr<Crew> crew_;
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
