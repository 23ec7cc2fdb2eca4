// A mapped file by a descriptor of its own: whether it has changed under the mapping, and its cached pages.
#pragma once

#include <sys/stat.h>

#include <cstdint>

#include "paging/file_mapping.h"
#include "paging/pages.h"
#include "status.h"

namespace nq {

// A file's size and times of change: a file whose mark is another one has been written to, or may have been.
struct FileMark {
  uint64_t size = 0;
  timespec written = {}, changed = {};

  bool operator==(const FileMark& other) const;
};

class MappedFile {
 public:
  MappedFile() = default;
  // Not open if the mapping's path names no file, or another one, by now.
  explicit MappedFile(const FileMapping& mapping);
  MappedFile(MappedFile&& other) noexcept : descriptor_(other.descriptor_) { other.descriptor_ = -1; }
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  bool is_open() const { return descriptor_ >= 0; }
  // The file as it is now; false if it is not open, or the system does not tell.
  bool mark(FileMark* now) const;
  // Asks the system to forget what it has cached of the pages; it may decline without saying so.
  void drop(const FileMapping& mapping, PageRange pages) const;

 private:
  int descriptor_ = -1;
};

}  // namespace nq
