#include "paging/mapped_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace nq {
namespace {

bool same(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }

}  // namespace

bool FileMark::operator==(const FileMark& other) const {
  return size == other.size && same(written, other.written) && same(changed, other.changed);
}

MappedFile::MappedFile(const FileMapping& mapping)
    : descriptor_(::open(mapping.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  struct stat file;
  // Not the device: some file systems print another one in /proc/self/maps.
  if (is_open() && fstat(descriptor_, &file) == 0 && file.st_ino == mapping.inode) return;
  *this = MappedFile();
}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

MappedFile::~MappedFile() {
  if (is_open()) close(descriptor_);
}

bool MappedFile::mark(FileMark* now) const {
  struct stat file;
  if (!is_open() || fstat(descriptor_, &file) != 0) return false;
  *now = {static_cast<uint64_t>(file.st_size), file.st_mtim, file.st_ctim};
  return true;
}

void MappedFile::drop(const FileMapping& mapping, PageRange pages) const {
  if (!is_open() || pages.size == 0) return;
  const uint64_t offset = mapping.offset + (reinterpret_cast<uintptr_t>(pages.start) - mapping.start);
  posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(pages.size), POSIX_FADV_DONTNEED);
}

}  // namespace nq
