#include <sys/mman.h>
#include <unistd.h>

#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>

#include "check.h"
#include "nested_file.h"
#include "paging/file_mapping.h"
#include "paging/mapped_file.h"
#include "paging/pages.h"

namespace {

using nq::FileMapping;
using nq::PageRange;
using nq_test::Bytes;
using nq_test::MappedFile;

constexpr size_t kMegabyte = 1u << 20;

Bytes random_bytes(size_t size) {
  std::mt19937 random(8);
  Bytes bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

uint64_t resident_bytes(const uint8_t* data, size_t size) {
  uint64_t resident = 0;
  CHECK_OK(nq::resident_bytes(data, size, &resident));
  return resident;
}

constexpr char kMaps[] =
    "10000-20000 r-xp 00000000 fe:01 11 /bin/prog\n"
    "20000-30000 r--s 00000000 fe:01 12                         /a model.tflite\n"
    "30000-34000 r--s 00010000 fe:01 12                         /a model.tflite\n"
    "34000-38000 r--s 00020000 fe:01 12                         /a model.tflite\n"
    "40000-50000 r--p 00000000 fe:01 13 /private\n"
    "50000-60000 rw-s 00000000 fe:01 14 /writable\n"
    "60000-70000 r--s 00000000 00:00 0 \n"
    "70000-80000 rw-p 00000000 00:00 0 [heap]\n"
    "nonsense\n"
    "80000-90000 r--s 00004000 fe:01 15 /last\n";

TEST(only_shared_read_only_file_mappings_are_found) {
  const auto find = [](uintptr_t start, size_t size) { return nq::find_file_mapping(kMaps, start, size); };
  const auto model = find(0x21000, 0x13000);
  CHECK(model.has_value());
  CHECK_EQ(uintptr_t{0x20000}, model->start);
  CHECK_EQ(uintptr_t{0x34000}, model->end);  // two pieces of one mapping, not the third, which has a hole before it
  CHECK_EQ(12u, model->inode);
  CHECK_EQ(std::string("/a model.tflite"), model->path);
  CHECK(!find(0x21000, 0x13001));
  CHECK(!find(0x1FFFF, 16));
  CHECK(!find(0x10000, 16));
  CHECK(!find(0x40000, 16));
  CHECK(!find(0x50000, 16));
  CHECK(!find(0x60000, 16));
  CHECK(!find(0x70000, 16));
  CHECK(!find(0x78000, SIZE_MAX));
  CHECK(!find(0x90000, 1));
  CHECK_EQ(uint64_t{0x4000}, find(0x8F000, 0x1000)->offset);
}

TEST(anonymous_memory_is_refused) {
  const Bytes heap(4 * kMegabyte);
  CHECK(!nq::find_file_mapping(heap.data(), heap.size()));
  void* memory = mmap(nullptr, kMegabyte, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  CHECK(!nq::find_file_mapping(memory, kMegabyte));
  munmap(memory, kMegabyte);
}

TEST(a_mapping_goes_on_behind_its_file) {
  const MappedFile mapped(Bytes(10001, 7));
  auto mapping = nq::find_file_mapping(mapped.data(), 1);
  const auto start = reinterpret_cast<uintptr_t>(mapped.data());
  CHECK(mapping && mapping->start == start && mapping->end > start + 10001);
  CHECK_EQ(start + 10001, nq::file_end(*mapping));
  mapping->inode += 1;  // the path names another file by now
  CHECK_EQ(mapping->end, nq::file_end(*mapping));
  mapping->path += ".gone";
  CHECK_EQ(mapping->end, nq::file_end(*mapping));
}

TEST(ranges_are_whole_pages_up_to_the_next_section) {
  FileMapping mapping;
  mapping.start = 0x10000000;
  mapping.end = mapping.start + 0x20000;
  const auto pages = [&](size_t start, uint64_t size) {
    return nq::section_pages(mapping, reinterpret_cast<const uint8_t*>(mapping.start + start), size);
  };
  const PageRange inner = pages(0x4000, 100);
  CHECK_EQ(mapping.start + 0x4000, reinterpret_cast<uintptr_t>(inner.start));
  CHECK_EQ(size_t{0x4000}, inner.size);
  CHECK_EQ(size_t{0x8000}, pages(0x4000, 0x4001).size);
  CHECK_EQ(size_t{0x20000 - 0x1C000}, pages(0x1C000, 0x4001).size);  // clipped to the mapping
  mapping.end -= 0x3000;                                             // a file that ends within its section
  CHECK_EQ(size_t{0x1000}, pages(0x1C000, 100).size);
  mapping.offset = 0x1000;  // a model that starts inside its file, and not on a large page: nothing else changes
  CHECK_EQ(size_t{0x4000}, pages(0x4000, 100).size);
  const PageRange unaligned = pages(0x4004, 0x4001);  // nor on a page: less than the section, never more
  CHECK_EQ(mapping.start + 0x5000, reinterpret_cast<uintptr_t>(unaligned.start));
  CHECK_EQ(size_t{0x7000}, unaligned.size);
  CHECK_EQ(size_t{0x1000}, pages(0x1B004, 100).size);  // the mapping ends inside
  mapping.end = mapping.start + 0x5000;
  CHECK_EQ(size_t{0}, pages(0x4004, 0x4001).size);  // no whole page is left
}

TEST(pages_leave_and_return) {
  const Bytes bytes = random_bytes(4 * kMegabyte);
  const MappedFile file(bytes);
  const auto mapping = nq::find_file_mapping(file.data(), file.size());
  CHECK(mapping.has_value());
  const size_t start = 2 * kMegabyte + 16384, size = kMegabyte + 77;
  const PageRange pages = nq::section_pages(*mapping, file.data() + start, size);
  for (int round = 0; round < 3; ++round) {
    CHECK_OK(nq::page_in(pages));
    CHECK_EQ(uint64_t{size}, resident_bytes(file.data() + start, size));
    CHECK(std::memcmp(file.data(), bytes.data(), bytes.size()) == 0);
    CHECK_OK(nq::page_out(pages));
    CHECK_EQ(uint64_t{0}, resident_bytes(file.data() + start, size));
    // Reading everything before the section must not bring it back, as fault-around would.
    CHECK(std::memcmp(file.data(), bytes.data(), start) == 0);
    CHECK_EQ(uint64_t{0}, resident_bytes(file.data() + start, size));
    CHECK_EQ(int{bytes[start + 5]}, int{file.data()[start + 5]});
  }
  // The advice has split the mapping; it is still found as one.
  const auto again = nq::find_file_mapping(file.data(), file.size());
  CHECK(again && again->start == mapping->start && again->end == mapping->end);
}

// What the system notes of the mapping that begins there.
std::string flags_of(const uint8_t* start) {
  std::ifstream file("/proc/self/smaps");
  std::string line, flags;
  for (bool found = false; std::getline(file, line);) {
    uintptr_t begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " ", &begin, &end) == 2) {
      found = begin == reinterpret_cast<uintptr_t>(start);
    } else if (found && line.rfind("VmFlags:", 0) == 0) {
      flags = line + " ";
    }
  }
  return flags;
}

// Huge pages make switches fast, but one that a stray read brings in would be 2 MB of a section that is out.
TEST(huge_pages_may_come_in_but_not_back) {
  const MappedFile file(random_bytes(4 * kMegabyte));
  const auto mapping = nq::find_file_mapping(file.data(), file.size());
  CHECK(mapping.has_value());
  const PageRange pages = nq::section_pages(*mapping, file.data() + kMegabyte, kMegabyte);
  if (madvise(pages.start, pages.size, MADV_HUGEPAGE) != 0) GTEST_SKIP() << "a system without huge pages";
  CHECK_OK(nq::page_out(pages));
  CHECK(flags_of(pages.start).find(" nh ") != std::string::npos);
  CHECK_OK(nq::page_in(pages));
  CHECK(flags_of(pages.start).find(" hg ") != std::string::npos);
}

TEST(an_empty_range_is_no_work) {
  CHECK_OK(nq::page_in({}));
  CHECK_OK(nq::page_out({}));
  CHECK_EQ(uint64_t{0}, resident_bytes(nullptr, 0));
}

TEST(what_the_system_refuses_is_an_error) {
  void* memory = mmap(nullptr, kMegabyte, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(memory, kMegabyte);
  const PageRange gone = {static_cast<uint8_t*>(memory), kMegabyte};
  CHECK_FAILS(NQ_SYSTEM, "madvise", nq::page_out(gone));
  CHECK_FAILS(NQ_SYSTEM, "madvise", nq::page_in(gone));
  uint64_t resident = 0;
  CHECK_OK(nq::resident_bytes(gone.start, gone.size, &resident));
  CHECK_EQ(uint64_t{0}, resident);
}

TEST(dropping_the_page_cache) {
  const MappedFile file(random_bytes(kMegabyte));
  auto mapping = nq::find_file_mapping(file.data(), file.size());
  CHECK(mapping.has_value());
  const PageRange pages = nq::section_pages(*mapping, file.data() + 16384, 100000);
  const nq::MappedFile opened(*mapping);
  CHECK(opened.is_open());
  CHECK_OK(nq::page_out(pages));
  opened.drop(*mapping, pages);
  CHECK_OK(nq::page_in(pages));
  mapping->inode += 1;  // the path names another file by now
  CHECK(!nq::MappedFile(*mapping).is_open());
  mapping->path = "/nowhere/model.tflite";
  CHECK(!nq::MappedFile(*mapping).is_open());
}

TEST(a_mapped_file_that_changes_is_noticed) {
  const MappedFile file(Bytes(20000, 7));
  const nq::MappedFile opened(*nq::find_file_mapping(file.data(), 1));
  nq::FileMark before, after;
  CHECK(opened.mark(&before) && opened.mark(&after) && before == after);
  CHECK_EQ(uint64_t{20000}, before.size);
  CHECK_EQ(0, truncate(file.path().c_str(), 100));
  CHECK(opened.mark(&after) && !(before == after));
  CHECK_EQ(uint64_t{100}, after.size);
  CHECK(!nq::MappedFile().mark(&after));
}

}  // namespace
