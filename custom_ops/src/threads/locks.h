// A mutex and a lock whose rules Clang checks (-Wthread-safety, `make lint`): what is NQ_GUARDED_BY a mutex is touched
// only while it is held, what NQ_REQUIRES it is called only then. Other compilers see std::mutex and std::unique_lock.
//
// Every Mutex is locked around fork(): what it guards is whole in the child, and nobody there holds it.
#pragma once

#include <mutex>

#if defined(__clang__)
#define NQ_THREAD_RULE(rule) __attribute__((rule))
#else
#define NQ_THREAD_RULE(rule)
#endif

#define NQ_GUARDED_BY(mutex) NQ_THREAD_RULE(guarded_by(mutex))
#define NQ_REQUIRES(...) NQ_THREAD_RULE(requires_capability(__VA_ARGS__))
#define NQ_EXCLUDES(...) NQ_THREAD_RULE(locks_excluded(__VA_ARGS__))
#define NQ_ACQUIRED_BEFORE(...) NQ_THREAD_RULE(acquired_before(__VA_ARGS__))
#define NQ_ACQUIRE(...) NQ_THREAD_RULE(acquire_capability(__VA_ARGS__))
#define NQ_RELEASE(...) NQ_THREAD_RULE(release_capability(__VA_ARGS__))
#define NQ_TRY_ACQUIRE(result) NQ_THREAD_RULE(try_acquire_capability(result))
#define NQ_SCOPED_LOCK NQ_THREAD_RULE(scoped_lockable)
// For a function that may do so for a reason which is no lock; it says which.
#define NQ_UNCHECKED NQ_THREAD_RULE(no_thread_safety_analysis)

namespace nq {

// Whoever holds a mutex locks only those of later ranks.
enum class Rank { kRegistry, kControl, kState, kCrew };

// None is made or destroyed by a thread that holds one.
class NQ_THREAD_RULE(capability("mutex")) Mutex {
 public:
  explicit Mutex(Rank rank);
  ~Mutex();
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  bool try_lock() NQ_TRY_ACQUIRE(true) { return mutex_.try_lock(); }

 private:
  friend class Lock;
  friend class AllMutexes;
  std::mutex mutex_;
  const Rank rank_;
  Mutex *previous_ = nullptr, *next_ = nullptr;  // among all
};

// How many forks lie between the first process that made a Mutex and this one: where it has changed, threads are gone.
unsigned fork_count();

class NQ_SCOPED_LOCK Lock {
 public:
  explicit Lock(Mutex& mutex) NQ_ACQUIRE(mutex) : lock_(mutex.mutex_) {}
  // Of a mutex that the caller has locked.
  Lock(Mutex& mutex, std::adopt_lock_t adopt) NQ_REQUIRES(mutex) : lock_(mutex.mutex_, adopt) {}
  ~Lock() NQ_RELEASE() {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  // For a condition variable.
  std::unique_lock<std::mutex>& held() { return lock_; }

 private:
  std::unique_lock<std::mutex> lock_;
};

}  // namespace nq
