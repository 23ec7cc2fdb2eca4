// Pages of a read-only file mapping: released, fetched, counted.
#pragma once

#include <cstddef>
#include <cstdint>

#include "paging/file_mapping.h"
#include "status.h"

namespace nq {

// Bytes of a page of this system.
uintptr_t page_size();

// Whole pages; empty if size is 0.
struct PageRange {
  uint8_t* start = nullptr;
  size_t size = 0;
};

// The whole pages of a section that starts at `data`: up to where another section may start, the next multiple of the
// section alignment from there, and inside the mapping. A model that starts anywhere in its file, as one inside an
// Android package does, shares a page at each end of a section with its neighbours, and keeps it.
PageRange section_pages(const FileMapping& mapping, const uint8_t* data, uint64_t size);

// Drops the pages from this process and keeps reads of their neighbours from bringing them back.
Status page_out(PageRange pages);

// Makes the pages resident, with as few page faults as the system can.
Status page_in(PageRange pages);

// Bytes of the range that this process holds in memory.
uint64_t resident_bytes(const uint8_t* data, size_t size);

// A second descriptor of a mapped file, for dropping the system's cached pages.
class CachedFile {
 public:
  CachedFile() = default;
  CachedFile(CachedFile&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  CachedFile& operator=(CachedFile&& other) noexcept;
  ~CachedFile();

  // Fails if the path names no file any more. If it names another one by now, dropping does nothing, which is harmless.
  Status open(const FileMapping& mapping);
  // Asks the system to forget what it has cached of the pages; it may decline without saying so.
  void drop(const FileMapping& mapping, PageRange pages) const;

 private:
  int descriptor_ = -1;
};

}  // namespace nq
