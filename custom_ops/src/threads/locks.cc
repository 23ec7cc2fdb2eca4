#include "threads/locks.h"

#include <pthread.h>

#include <atomic>

namespace nq {

class AllMutexes {
 public:
  void add(Mutex* mutex) {
    const std::lock_guard<std::mutex> lock(mutex_);
    mutex->previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = mutex;
    last_ = mutex;
  }

  void remove(Mutex* mutex) {
    const std::lock_guard<std::mutex> lock(mutex_);
    (mutex->previous_ != nullptr ? mutex->previous_->next_ : first_) = mutex->next_;
    (mutex->next_ != nullptr ? mutex->next_->previous_ : last_) = mutex->previous_;
  }

  // Only fork() comes between this and unlock_all().
  void lock_all() NQ_UNCHECKED {
    mutex_.lock();
    for (const Rank rank : {Rank::kRegistry, Rank::kControl, Rank::kState, Rank::kCrew}) {
      for (Mutex* each = first_; each != nullptr; each = each->next_) {
        if (each->rank_ == rank) each->mutex_.lock();
      }
    }
  }

  void unlock_all() NQ_UNCHECKED {
    for (Mutex* each = first_; each != nullptr; each = each->next_) each->mutex_.unlock();
    mutex_.unlock();
  }

 private:
  std::mutex mutex_;
  Mutex *first_ = nullptr, *last_ = nullptr;
};

namespace {

std::atomic<unsigned> forks{0};

AllMutexes& all_mutexes();

void before_fork() { all_mutexes().lock_all(); }
void after_fork_in_parent() { all_mutexes().unlock_all(); }
void after_fork_in_child() {
  ++forks;
  all_mutexes().unlock_all();
}

// Never destroyed, as the registry of sessions.
AllMutexes& all_mutexes() {
  static AllMutexes& instance = *[] {
    static_cast<void>(pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child));
    return new AllMutexes;
  }();
  return instance;
}

}  // namespace

Mutex::Mutex(Rank rank) : rank_(rank) { all_mutexes().add(this); }
Mutex::~Mutex() { all_mutexes().remove(this); }

unsigned fork_count() { return forks; }

}  // namespace nq
