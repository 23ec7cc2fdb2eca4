// An array that ends at a closed page and starts behind bytes that must not change: reading or writing a byte too
// many ends the test, masked vector loads included, which the sanitizers do not see.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "check.h"

namespace nq_test {

inline size_t page_bytes() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// Mappings by size, kept for the next array: thousands of them cost more than the tests.
inline std::map<size_t, std::vector<uint8_t*>>& free_pages() {
  static std::map<size_t, std::vector<uint8_t*>> pages;
  return pages;
}

// The last page is closed.
inline uint8_t* take_pages(size_t size) {
  std::vector<uint8_t*>& free = free_pages()[size];
  if (!free.empty()) {
    uint8_t* pages = free.back();
    free.pop_back();
    return pages;
  }
  void* pages = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  auto* bytes = static_cast<uint8_t*>(pages);
  if (pages == MAP_FAILED || mprotect(bytes + size - page_bytes(), page_bytes(), PROT_NONE) != 0) std::abort();
  return bytes;
}

template <typename T>
class Guarded {
 public:
  explicit Guarded(size_t count, T value = T{}) : count_(count) {
    const size_t page = page_bytes(), used = (count * sizeof(T) + kFront + page - 1) / page * page;
    mapped_ = used + page;
    pages_ = take_pages(mapped_);
    data_ = reinterpret_cast<T*>(pages_ + used - count * sizeof(T));
    std::fill(front(), front() + kFront, kPattern);
    std::fill(begin(), end(), value);
  }
  explicit Guarded(const std::vector<T>& values) : Guarded(values.size()) {
    std::copy(values.begin(), values.end(), begin());
  }
  Guarded(Guarded&& other) noexcept
      : count_(other.count_), mapped_(other.mapped_), pages_(other.pages_), data_(other.data_) {
    other.pages_ = nullptr;
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  ~Guarded() {
    if (pages_ == nullptr) return;
    CHECK(std::all_of(front(), front() + kFront, [](uint8_t byte) { return byte == kPattern; }));
    free_pages()[mapped_].push_back(pages_);
  }

  T* data() const { return data_; }
  size_t size() const { return count_; }
  T* begin() const { return data_; }
  T* end() const { return data_ + count_; }
  T& operator[](size_t i) const { return data_[i]; }

 private:
  static constexpr size_t kFront = 64;
  static constexpr uint8_t kPattern = 0xA5;

  uint8_t* front() const { return reinterpret_cast<uint8_t*>(data_) - kFront; }

  size_t count_, mapped_ = 0;
  uint8_t* pages_ = nullptr;
  T* data_ = nullptr;
};

}  // namespace nq_test
