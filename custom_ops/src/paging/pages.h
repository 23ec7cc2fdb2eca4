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

// The whole pages between two places of the mapping.
PageRange pages_between(const FileMapping& mapping, uintptr_t start, uintptr_t end);

// Drops the pages from this process; whoever reads them again gets them from the file, with their neighbours.
Status release(PageRange pages);

// Drops the pages from this process and keeps reads of their neighbours from bringing them back.
Status page_out(PageRange pages);

// Makes the pages resident, with as few page faults as the system can.
Status page_in(PageRange pages);

// Bytes of the range that this process holds in memory.
Status resident_bytes(const uint8_t* data, size_t size, uint64_t* resident);

}  // namespace nq
