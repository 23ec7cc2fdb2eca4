#include "threads/thread_pool.h"

#include <utility>

namespace nq {
namespace {

constexpr size_t kAlignment = 64;
// About as long as the gap between two layers; longer would take the processor from whoever runs in between.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  __asm__ volatile("yield");
#endif
}

}  // namespace

uint8_t* Workspace::get(size_t bytes) {
  if (storage_.size() < bytes + kAlignment) storage_.resize(bytes + kAlignment);
  const auto address = reinterpret_cast<uintptr_t>(storage_.data());
  return storage_.data() + (kAlignment - address % kAlignment) % kAlignment;
}

ThreadPool::~ThreadPool() { stop(); }

std::vector<std::unique_ptr<Workspace>> ThreadPool::make_workspaces(int count) {
  std::vector<std::unique_ptr<Workspace>> workspaces;
  for (int i = 0; i < count; ++i) workspaces.push_back(std::make_unique<Workspace>());
  return workspaces;
}

void ThreadPool::resize(int num_threads) {
  if (num_threads < 1) num_threads = 1;
  if (num_threads == size()) return;
  stop();
  workspaces_ = make_workspaces(num_threads);
  stopping_ = false;
  for (int part = 1; part < num_threads; ++part)
    threads_.emplace_back(&ThreadPool::work, this, part, generation_.load());
}

void ThreadPool::stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void ThreadPool::run(const Task& task) {
  task_ = &task;
  running_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  if (!threads_.empty()) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);  // a worker about to sleep must not miss it
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
  }
  perform(0);
  while (running_.load(std::memory_order_acquire) != 0) relax();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::perform(int part) {
  try {
    (*task_)(part, workspaces_[static_cast<size_t>(part)].get());
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::work(int part, uint32_t seen) {
  while (true) {
    seen = wait_for_task(seen);
    if (stopping_) return;
    perform(part);
    running_.fetch_sub(1, std::memory_order_release);
  }
}

uint32_t ThreadPool::wait_for_task(uint32_t seen) {
  for (int i = 0; i < kSpins && generation_.load(std::memory_order_acquire) == seen && !stopping_; ++i) relax();
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait(lock, [&] { return stopping_ || generation_.load(std::memory_order_acquire) != seen; });
  return generation_.load(std::memory_order_acquire);
}

}  // namespace nq
