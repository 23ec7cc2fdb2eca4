#include "threads/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "threads/locks.h"

namespace nq {
namespace {

constexpr size_t kAlignment = 64;
// Longer than the gap between two layers, or the part of one that a single thread does; much longer would take the
// processor from whoever runs between two inferences. `pool_bench` prints what it saves, a call that finds the threads
// awake.
constexpr std::chrono::microseconds kPatience{100};

uint32_t generation_of(uint64_t state) { return static_cast<uint32_t>(state >> 32); }
uint32_t parts_left(uint64_t state) { return static_cast<uint32_t>(state); }

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");  // "yield" is over at once on most CPUs
#elif defined(__arm__)
  __asm__ volatile("yield");
#endif
}

// Whether `done` came true before patience was lost. Between two looks at the clock, which take longer than one at what
// is awaited, the processor is somebody else's if he asks for it: where there are more threads than processors, that is
// often the thread that does what is awaited.
template <typename Done>
bool spin_until(const Done& done) {
  constexpr int kRelaxations = 32;
  const auto relax_until_done = [&] {
    for (int i = 0; i < kRelaxations; ++i) {
      if (done()) return true;
      relax();
    }
    return false;
  };
  if (relax_until_done()) return true;
  const auto end = std::chrono::steady_clock::now() + kPatience;
  do {
    std::this_thread::yield();
    if (relax_until_done()) return true;
  } while (std::chrono::steady_clock::now() < end);
  return done();
}

}  // namespace

class ThreadPool::Crew {
 public:
  explicit Crew(int size);
  ~Crew();

  void start();
  // Whether it was started in a process of which this one is a fork: it has no threads, and must not be destroyed, for
  // the end of a condition variable waits for those that wait for it.
  bool left_behind() const { return forks_ != fork_count(); }
  void run(int num_parts, const Task& task);

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

  int size() const { return static_cast<int>(workspaces_.size()); }
  void work(int thread);
  bool wait_for_generation(int thread, uint32_t* seen);
  void take_parts(uint32_t generation, int thread);
  static bool take_part(uint32_t generation, Share* share, int* part);
  void perform(const Task& task, int part, Workspace* workspace);
  void keep_failure(std::exception_ptr failure);  // if it is the first; Clang does not look into catch blocks
  std::exception_ptr take_failure();

  std::vector<std::unique_ptr<Workspace>> workspaces_;
  std::unique_ptr<Share[]> shares_;  // one a thread
  std::vector<std::thread> threads_;
  uint32_t generation_ = 0;
  const unsigned forks_ = fork_count();
  alignas(64) std::atomic<int> unfinished_{0};
  // A worker counts itself before it looks for work a last time, and run() hands work out before it looks for sleepers,
  // both by writing: whoever comes second sees what the first has done.
  alignas(64) std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  Mutex mutex_{Rank::kCrew};
  std::condition_variable wake_;
  std::exception_ptr failure_ NQ_GUARDED_BY(mutex_);
};

// Not a vector: that would grow by half again, and write to pages that may never be used.
uint8_t* Workspace::get(size_t bytes) {
  if (capacity_ < bytes + kAlignment) {
    capacity_ = 0;  // should memory be short, or this thread be gone in the child of a fork()
    storage_.reset();
    storage_.reset(new uint8_t[bytes + kAlignment]);
    capacity_ = bytes + kAlignment;
  }
  const auto address = reinterpret_cast<uintptr_t>(storage_.get());
  return storage_.get() + (kAlignment - address % kAlignment) % kAlignment;
}

ThreadPool::ThreadPool() : crew_(std::make_unique<Crew>(1)) {}

ThreadPool::~ThreadPool() { dismiss_crew(); }

void ThreadPool::resize(int num_threads) {
  if (num_threads < 1) num_threads = 1;
  if (num_threads == size()) return;
  replace_crew(std::make_unique<Crew>(num_threads));
  size_ = num_threads;
}

void ThreadPool::run(int num_parts, const Task& task) {
  if (crew_->left_behind()) replace_crew(std::make_unique<Crew>(size()));
  crew_->run(num_parts, task);
}

void ThreadPool::replace_crew(std::unique_ptr<Crew> crew) {
  dismiss_crew();
  crew_ = std::move(crew);
  crew_->start();
}

void ThreadPool::dismiss_crew() {
  if (crew_->left_behind()) {
    static_cast<void>(crew_.release());
  } else {
    crew_.reset();
  }
}

ThreadPool::Crew::Crew(int size) : shares_(new Share[static_cast<size_t>(size)]) {
  for (int i = 0; i < size; ++i) workspaces_.push_back(std::make_unique<Workspace>());
  threads_.reserve(static_cast<size_t>(size));
}

ThreadPool::Crew::~Crew() {
  {
    const Lock lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

// As many of them as the system gives: the others' parts are taken all the same.
void ThreadPool::Crew::start() {
  try {
    for (int thread = 1; thread < size(); ++thread) threads_.emplace_back(&Crew::work, this, thread);
  } catch (const std::system_error&) {
  } catch (const std::bad_alloc&) {
  }
}

void ThreadPool::Crew::run(int num_parts, const Task& task) {
  if (num_parts < 1) return;
  if (num_parts == 1 || size() == 1) {
    for (int part = 0; part < num_parts; ++part) task(part, workspaces_[0].get());
    return;
  }
  unfinished_.store(num_parts, std::memory_order_relaxed);
  ++generation_;
  for (int thread = size() - 1; thread >= 0; --thread) {
    const Range parts = split_range(num_parts, thread, size());
    Share& share = shares_[thread];
    share.task = &task;
    share.end = static_cast<int>(parts.end);
    const uint64_t state = uint64_t{generation_} << 32 | static_cast<uint32_t>(parts.end - parts.begin);
    share.state.store(state, std::memory_order_release);
  }
  if (sleepers_.fetch_add(0) > 0) {
    const Lock lock(mutex_);  // whoever counts as a sleeper sleeps by now
    wake_.notify_all();
  }
  take_parts(generation_, 0);
  const auto finished = [&] { return unfinished_.load(std::memory_order_acquire) == 0; };
  if (!spin_until(finished)) {
    while (!finished()) std::this_thread::yield();
  }
  if (const std::exception_ptr failure = take_failure()) std::rethrow_exception(failure);
}

// All parts are done: no thread writes it any more.
std::exception_ptr ThreadPool::Crew::take_failure() NQ_UNCHECKED { return std::exchange(failure_, nullptr); }

// Its own, then what is left of the others'.
void ThreadPool::Crew::take_parts(uint32_t generation, int thread) {
  Workspace* workspace = workspaces_[static_cast<size_t>(thread)].get();
  for (int i = 0, owner = thread; i < size(); ++i, owner = (owner + 1) % size()) {
    int performed = 0;
    Share& share = shares_[owner];
    for (int part = 0; take_part(generation, &share, &part); ++performed) perform(*share.task, part, workspace);
    if (performed > 0) unfinished_.fetch_sub(performed, std::memory_order_release);
  }
}

bool ThreadPool::Crew::take_part(uint32_t generation, Share* share, int* part) {
  uint64_t state = share->state.load(std::memory_order_acquire);
  do {
    if (generation_of(state) != generation || parts_left(state) == 0) return false;
  } while (!share->state.compare_exchange_weak(state, state - 1, std::memory_order_acq_rel, std::memory_order_acquire));
  *part = share->end - static_cast<int>(parts_left(state));
  return true;
}

void ThreadPool::Crew::perform(const Task& task, int part, Workspace* workspace) {
  try {
    task(part, workspace);
  } catch (...) {
    keep_failure(std::current_exception());
  }
}

void ThreadPool::Crew::keep_failure(std::exception_ptr failure) {
  const Lock lock(mutex_);
  if (!failure_) failure_ = std::move(failure);
}

void ThreadPool::Crew::work(int thread) {
  uint32_t seen = 0;
  while (wait_for_generation(thread, &seen)) take_parts(seen, thread);
}

// Returns false if the pool stops.
bool ThreadPool::Crew::wait_for_generation(int thread, uint32_t* seen) {
  const std::atomic<uint64_t>& share = shares_[thread].state;
  const auto changed = [&] { return generation_of(share) != *seen || stopping_; };
  if (!spin_until(changed)) {
    Lock lock(mutex_);
    ++sleepers_;
    wake_.wait(lock.held(), changed);
    --sleepers_;
  }
  *seen = generation_of(share);
  return !stopping_;
}

}  // namespace nq
