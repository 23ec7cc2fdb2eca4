#include "paging/file_mapping.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>

namespace nq {
namespace {

// A line of /proc/self/maps; false if it is not a shared, read-only mapping of a file.
bool parse_line(const std::string& line, FileMapping* mapping) {
  char permissions[5] = {}, device[32] = {};
  int path = 0;
  const int fields =
      std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR " %4s %" SCNx64 " %31s %" SCNu64 " %n", &mapping->start,
                  &mapping->end, permissions, &mapping->offset, device, &mapping->inode, &path);
  if (fields != 6 || permissions[0] != 'r' || permissions[1] != '-' || permissions[3] != 's') return false;
  mapping->device = device;
  mapping->path = path > 0 ? line.substr(path) : std::string();
  return mapping->inode != 0;
}

// Empty if the system does not show it. Not by a stream, which would take want of memory for the file's end.
std::string read_maps() {
  std::string text(1 << 16, '\0');
  const int file = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  size_t size = 0;
  try {
    for (ssize_t got = 1; got != 0;) {
      if (size == text.size()) text.resize(2 * size);
      got = read(file, text.data() + size, text.size() - size);
      if (got < 0 && errno != EINTR) break;
      if (got > 0) size += static_cast<size_t>(got);
    }
  } catch (...) {
    close(file);
    throw;
  }
  close(file);
  text.resize(size);
  return text;
}

bool continues(const FileMapping& before, const FileMapping& after) {
  return before.end == after.start && before.device == after.device && before.inode == after.inode &&
         before.offset + (before.end - before.start) == after.offset;
}

}  // namespace

std::optional<FileMapping> find_file_mapping(const std::string& maps, uintptr_t start, size_t size) {
  std::optional<FileMapping> run;
  for (size_t begin = 0, end; begin < maps.size(); begin = end + 1) {
    end = std::min(maps.find('\n', begin), maps.size());
    const std::string line = maps.substr(begin, end - begin);
    FileMapping mapping;
    if (!parse_line(line, &mapping)) continue;
    if (run && continues(*run, mapping)) {
      run->end = mapping.end;  // madvise has split one mapping in two
    } else if (run && run->end > start) {
      break;
    } else {
      run = mapping;
    }
  }
  if (!run || start < run->start || start > run->end || size > run->end - start) return std::nullopt;
  return run;
}

std::optional<FileMapping> find_file_mapping(const void* data, size_t size) {
  return find_file_mapping(read_maps(), reinterpret_cast<uintptr_t>(data), size);
}

uintptr_t file_end(const FileMapping& mapping) {
  struct stat file;
  if (stat(mapping.path.c_str(), &file) != 0 || file.st_ino != mapping.inode) return mapping.end;
  const auto size = static_cast<uint64_t>(file.st_size);
  const uint64_t mapped = size > mapping.offset ? size - mapping.offset : 0;
  return mapped < mapping.end - mapping.start ? mapping.start + static_cast<uintptr_t>(mapped) : mapping.end;
}

}  // namespace nq
