#include "threads/thread_pool.h"

#include <utility>

namespace nq {
namespace {

constexpr size_t kAlignment = 64;
// About as long as the gap between two layers; longer would take the processor from whoever runs in between.
constexpr int kSpins = 4000;

uint32_t generation_of(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
uint32_t parts_left(uint64_t state) { return static_cast<uint32_t>(state); }

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
  const uint32_t generation = generation_of(state_.load());
  for (int thread = 1; thread < num_threads; ++thread) {
    threads_.emplace_back(&ThreadPool::work, this, thread, generation);
  }
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

void ThreadPool::run(int num_parts, const Task& task) {
  if (num_parts < 1) return;
  task_ = &task;
  num_parts_ = num_parts;
  unfinished_.store(num_parts, std::memory_order_relaxed);
  const uint32_t generation = generation_of(state_.load(std::memory_order_relaxed)) + 1;
  {
    const std::lock_guard<std::mutex> lock(mutex_);  // a worker about to sleep must not miss it
    state_.store(uint64_t{generation} << 32 | static_cast<uint32_t>(num_parts), std::memory_order_release);
  }
  if (!threads_.empty() && num_parts > 1) wake_.notify_all();
  take_parts(generation, workspaces_[0].get());
  for (int spins = 0; unfinished_.load(std::memory_order_acquire) != 0; ++spins) {
    spins < kSpins ? relax() : std::this_thread::yield();
  }
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void ThreadPool::take_parts(uint32_t generation, Workspace* workspace) {
  for (int part = 0; take_part(generation, &part);) {
    perform(part, workspace);
    unfinished_.fetch_sub(1, std::memory_order_release);
  }
}

bool ThreadPool::take_part(uint32_t generation, int* part) {
  uint64_t state = state_.load(std::memory_order_acquire);
  do {
    if (generation_of(state) != generation || parts_left(state) == 0) return false;
  } while (!state_.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  *part = num_parts_ - static_cast<int>(parts_left(state));
  return true;
}

void ThreadPool::perform(int part, Workspace* workspace) {
  try {
    (*task_)(part, workspace);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
}

void ThreadPool::work(int thread, uint32_t seen) {
  while (true) {
    seen = wait_for_generation(seen);
    if (stopping_) return;
    take_parts(seen, workspaces_[static_cast<size_t>(thread)].get());
  }
}

uint32_t ThreadPool::wait_for_generation(uint32_t seen) {
  const auto changed = [&] { return stopping_ || generation_of(state_.load(std::memory_order_acquire)) != seen; };
  for (int i = 0; i < kSpins && !changed(); ++i) relax();
  std::unique_lock<std::mutex> lock(mutex_);
  wake_.wait(lock, changed);
  return generation_of(state_.load(std::memory_order_acquire));
}

}  // namespace nq
