// Which part of this process's memory is a read-only mapping of a file, so that its pages may be released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace nq {

struct FileMapping {
  uintptr_t start = 0, end = 0;  // page-aligned
  uint64_t offset = 0;           // of `start` in the file
  std::string device;            // "major:minor", as the kernel prints it
  uint64_t inode = 0;
  std::string path;
};

// The shared, read-only file mapping that covers all of the range; none for anonymous, private or writable memory.
//
// Private mappings are refused although they may be read-only now: pages changed before would be lost, not read again.
std::optional<FileMapping> find_file_mapping(const void* data, size_t size);

// The same on the text of a /proc/<pid>/maps file.
std::optional<FileMapping> find_file_mapping(const std::string& maps, uintptr_t start, size_t size);

// Where in memory the file ends, or the mapping does, if that is first. A mapping's last page goes on behind the file,
// in zeros. The mapping's end where its path names the file no more.
uintptr_t file_end(const FileMapping& mapping);

}  // namespace nq
