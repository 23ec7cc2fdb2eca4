// One T for each thread that asks for it.
#pragma once

#include <pthread.h>

#include <new>

namespace nq {

// Not thread_local: the first use of a variable with a destructor in a thread ends the process where memory is short.
// For static objects; T's own constructor throws nothing.
template <typename T>
class PerThread {
 public:
  PerThread() : usable_(pthread_key_create(&key_, [](void* value) { delete static_cast<T*>(value); }) == 0) {}
  PerThread(const PerThread&) = delete;
  PerThread& operator=(const PerThread&) = delete;

  // The calling thread's. Throws std::bad_alloc if there is no memory for it.
  T& get() {
    if (T* found = usable_ ? static_cast<T*>(pthread_getspecific(key_)) : nullptr) return *found;
    T* made = new T;
    if (usable_ && pthread_setspecific(key_, made) == 0) return *made;
    delete made;
    throw std::bad_alloc();
  }

 private:
  pthread_key_t key_;
  bool usable_;
};

}  // namespace nq
