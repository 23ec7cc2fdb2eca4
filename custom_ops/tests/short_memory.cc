#include "short_memory.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<bool> counting{false}, paused{false}, failed{false}, for_good{false};
std::atomic<uint64_t> count{0}, first{0};

bool must_fail() {
  if (!counting || paused) return false;
  const uint64_t number = ++count;
  const bool fails = for_good ? number >= first : number == first;
  if (fails) failed = true;
  return fails;
}

void* allocate_or_null(size_t size) { return must_fail() ? nullptr : std::malloc(size == 0 ? 1 : size); }

void* allocate(size_t size) {
  void* memory = allocate_or_null(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

namespace nq_test {

void fail_allocation(uint64_t nth, bool persistent) {
  count = 0;
  first = nth;
  for_good = persistent;
  failed = false;
  counting = true;
}

bool stop_failing() {
  counting = false;
  return failed;
}

Pause::Pause(bool pause) : before_(paused.exchange(pause)) {}
Pause::~Pause() { paused = before_; }

}  // namespace nq_test

void* operator new(size_t size) { return allocate(size); }
void* operator new[](size_t size) { return allocate(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate_or_null(size); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
