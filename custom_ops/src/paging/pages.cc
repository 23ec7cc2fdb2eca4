#include "paging/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

#include "format/bytes.h"
#include "nq/format.h"

namespace nq {
namespace {

#ifdef MADV_POPULATE_READ
constexpr int kPopulateRead = MADV_POPULATE_READ;
#else
constexpr int kPopulateRead = 22;  // Linux 5.14
#endif

Status advise(PageRange pages, int advice, const char* name) {
  if (madvise(pages.start, pages.size, advice) == 0) return {};
  const int reason = errno;
  return error(NQ_SYSTEM, "madvise(%s) of %zu bytes failed: %s; %s", name, pages.size, std::strerror(reason),
               reason == EFAULT ? "the model file has been cut, or its disk cannot be read" : "try again");
}

void touch(PageRange pages) {
  const volatile uint8_t* bytes = pages.start;
  for (size_t offset = 0; offset < pages.size; offset += page_size()) static_cast<void>(bytes[offset]);
}

// Calls add(address, bytes) for each resident page of whole pages; false if the system does not tell.
template <typename Add>
bool for_each_resident_in_pagemap(uintptr_t start, uintptr_t end, const Add& add) {
  std::vector<uint64_t> entries((end - start) / page_size());
  const int file = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  const size_t bytes = entries.size() * sizeof(uint64_t);
  const auto position = static_cast<off_t>(start / page_size() * sizeof(uint64_t));
  const bool complete = pread(file, entries.data(), bytes, position) == static_cast<ssize_t>(bytes);
  close(file);
  for (size_t i = 0; complete && i < entries.size(); ++i) {
    if (entries[i] >> 63) add(start + i * page_size());
  }
  return complete;
}

// Counts what the system has cached of the file, which is more than this process holds.
template <typename Add>
Status for_each_resident_in_cache(uintptr_t start, uintptr_t end, const Add& add) {
  std::vector<unsigned char> present((end - start) / page_size());
  if (mincore(reinterpret_cast<void*>(start), end - start, present.data()) != 0) {
    return error(NQ_SYSTEM, "the system does not say what is resident: /proc/self/pagemap cannot be read, mincore: %s",
                 std::strerror(errno));
  }
  for (size_t i = 0; i < present.size(); ++i) {
    if (present[i] & 1) add(start + i * page_size());
  }
  return {};
}

}  // namespace

uintptr_t page_size() {
  static const auto size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  return size;
}

PageRange section_pages(const FileMapping& mapping, const uint8_t* data, uint64_t size) {
  const auto start = reinterpret_cast<uintptr_t>(data);
  return pages_between(mapping, start, static_cast<uintptr_t>(start + align(size, kSectionAlignment)));
}

PageRange pages_between(const FileMapping& mapping, uintptr_t start, uintptr_t end) {
  const auto first = static_cast<uintptr_t>(align(std::max(start, mapping.start), page_size()));
  const uintptr_t last = std::min(end, mapping.end) / page_size() * page_size();
  if (first >= last) return {};
  return {reinterpret_cast<uint8_t*>(first), last - first};
}

Status release(PageRange pages) { return pages.size == 0 ? Status() : advise(pages, MADV_DONTNEED, "MADV_DONTNEED"); }

Status page_out(PageRange pages) {
  if (pages.size == 0) return {};
  if (Status status = release(pages); !status.ok()) return status;
  // A fault maps cached neighbours too, up to a large folio of 2 MB, but only within its mapping: this advice splits
  // the section off into a mapping of its own, and keeps a stray read from reading ahead.
  return advise(pages, MADV_RANDOM, "MADV_RANDOM");
}

Status page_in(PageRange pages) {
  if (pages.size == 0) return {};
  if (Status status = advise(pages, MADV_NORMAL, "MADV_NORMAL"); !status.ok()) return status;
  if (madvise(pages.start, pages.size, kPopulateRead) == 0) return {};
  if (errno != EINVAL) return advise(pages, kPopulateRead, "MADV_POPULATE_READ");
  if (Status status = advise(pages, MADV_WILLNEED, "MADV_WILLNEED"); !status.ok()) return status;
  touch(pages);
  return {};
}

Status resident_bytes(const uint8_t* data, size_t size, uint64_t* resident) {
  const auto start = reinterpret_cast<uintptr_t>(data), end = start + size;
  const uintptr_t first = start / page_size() * page_size();
  const auto last = static_cast<uintptr_t>(align(end, page_size()));
  *resident = 0;
  const auto add = [&](uintptr_t page) { *resident += std::min(end, page + page_size()) - std::max(start, page); };
  return for_each_resident_in_pagemap(first, last, add) ? Status() : for_each_resident_in_cache(first, last, add);
}

}  // namespace nq
