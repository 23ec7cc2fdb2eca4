// Faults on order: preloaded (LD_PRELOAD) into a program, it makes system calls and allocations fail, fall short or
// kill the process. Rules come from nq_faults() or the environment variable NQ_FAULTS:
//
//   call,filter,from,count,action[;...]
//
// call    create (an open that may write), open (one that only reads), read, pread, write, pwrite, fsync, rename,
// resize
//         (ftruncate, posix_fallocate), unlink, link, mkdir, mmap, madvise, mincore, arch_prctl, pthread_create,
//         allocate; "file" stands for all that change the file system
// filter  a part of the file's path; @ and a part of a library's name: calls that come from there; empty: all
// from    the first matching call to fail, counted from 1
// count   how many fail from there on; 0: all
// action  an errno; -1: half the bytes only; -9 and -10: SIGKILL before the call, after it
//
// glibc only. Uses no C++ library: it is in place before there is one.
#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);
}

namespace {

constexpr int kHalf = -1, kKill = -9, kKillAfter = -10, kMaxRules = 8, kMaxRanges = 64;

struct Rule {
  char call[16], filter[256];
  long from, count, action;
  long hits;
};

struct Range {
  uintptr_t start, end;
};

struct Ranges {
  Range all[kMaxRanges];
  int count;

  bool contain(const void* address) const {
    const auto at = reinterpret_cast<uintptr_t>(address);
    for (int i = 0; i < count; ++i) {
      if (at >= all[i].start && at < all[i].end) return true;
    }
    return false;
  }
};

Rule rules[kMaxRules];
int num_rules = 0;
Ranges wanted, passed_through;
__thread bool busy __attribute__((tls_model("initial-exec"))) = false;

// Calls through these count as their callers'.
constexpr const char* kPassedThrough[] = {"libstdc++", "libc.so", "libgcc_s", "ld-linux", "fault_shim"};

int note_library(dl_phdr_info* info, size_t, void* name) {
  Ranges* ranges = nullptr;
  if (name != nullptr && std::strstr(info->dlpi_name, static_cast<const char*>(name)) != nullptr) ranges = &wanted;
  for (const char* each : kPassedThrough) {
    if (std::strstr(info->dlpi_name, each) != nullptr) ranges = &passed_through;
  }
  for (int i = 0; ranges != nullptr && i < info->dlpi_phnum && ranges->count < kMaxRanges; ++i) {
    const auto& segment = info->dlpi_phdr[i];
    const uintptr_t start = info->dlpi_addr + segment.p_vaddr;
    if (segment.p_type == PT_LOAD) ranges->all[ranges->count++] = {start, start + segment.p_memsz};
  }
  return 0;
}

bool comes_from_wanted_library() {
  void* frames[32];
  const int count = backtrace(frames, 32);
  for (int i = 0; i < count; ++i) {
    if (!passed_through.contain(frames[i])) return wanted.contain(frames[i]);
  }
  return false;
}

bool fits(const Rule& rule, const char* call, bool changes_files, const char* path, int file) {
  if (std::strcmp(rule.call, call) != 0 && !(changes_files && std::strcmp(rule.call, "file") == 0)) return false;
  if (rule.filter[0] == '\0') return true;
  if (rule.filter[0] == '@') return comes_from_wanted_library();
  char link[64], name[4096];
  if (path == nullptr) {
    std::snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
    const ssize_t length = readlink(link, name, sizeof(name) - 1);
    name[length < 0 ? 0 : length] = '\0';
    path = name;
  }
  return std::strstr(path, rule.filter) != nullptr;
}

// What is to happen to a call: 0 for nothing.
long action_for(const char* call, bool changes_files, const char* path, int file) {
  if (num_rules == 0 || busy) return 0;
  busy = true;
  long action = 0;
  for (int i = 0; i < num_rules && action == 0; ++i) {
    Rule& rule = rules[i];
    if (!fits(rule, call, changes_files, path, file)) continue;
    const long number = __atomic_add_fetch(&rule.hits, 1, __ATOMIC_RELAXED);
    if (number >= rule.from && (rule.count == 0 || number < rule.from + rule.count)) action = rule.action;
  }
  busy = false;
  if (action == kKill) kill(getpid(), SIGKILL);
  return action;
}

template <typename Function>
Function* next(const char* name, Function* /*like*/) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

template <typename Result>
Result finish(long action, Result result) {
  if (action == kKillAfter) kill(getpid(), SIGKILL);
  return result;
}

bool fails(long action) {
  if (action > 0) errno = static_cast<int>(action);
  return action > 0;
}

__attribute__((constructor)) void begin() {
  void* frame[1];
  backtrace(frame, 1);  // loads what it needs
}

}  // namespace

extern "C" {

void nq_faults(const char* text);
long nq_faults_hits(int rule);

void nq_faults(const char* text) {
  num_rules = 0;
  wanted.count = passed_through.count = 0;
  int count = 0;
  const char* library = nullptr;
  while (*text != '\0' && count < kMaxRules) {
    Rule& rule = rules[count];
    rule = {};
    int used = 0;
    if (std::sscanf(text, "%15[^,],%n", rule.call, &used) != 1) std::abort();
    text += used;
    const char* comma = std::strchr(text, ',');
    if (comma == nullptr || comma - text >= static_cast<long>(sizeof(rule.filter))) std::abort();
    std::memcpy(rule.filter, text, static_cast<size_t>(comma - text));
    if (std::sscanf(comma, ",%ld,%ld,%ld%n", &rule.from, &rule.count, &rule.action, &used) != 3) std::abort();
    text = comma + used;
    if (*text == ';') ++text;
    if (rule.filter[0] == '@') library = rule.filter + 1;
    ++count;
  }
  dl_iterate_phdr(note_library, const_cast<char*>(library));
  num_rules = count;
}

long nq_faults_hits(int rule) { return rules[rule].hits; }

__attribute__((constructor)) static void read_environment() {
  if (const char* text = std::getenv("NQ_FAULTS")) nq_faults(text);
}

#define NEXT(name) static auto* const real = next(#name, name)

#define NQ_OPEN(name)                                                                         \
  int name(const char* path, int flags, ...) {                                                \
    va_list arguments;                                                                        \
    va_start(arguments, flags);                                                               \
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0; \
    va_end(arguments);                                                                        \
    NEXT(name);                                                                               \
    const bool writes = (flags & (O_ACCMODE | O_CREAT)) != 0;                                 \
    const long action = action_for(writes ? "create" : "open", writes, path, -1);             \
    return fails(action) ? -1 : finish(action, real(path, flags, mode));                      \
  }
NQ_OPEN(open)
NQ_OPEN(open64)

#define NQ_TRANSFER(name, call, changes, buffer, parameters, rest) \
  ssize_t name(int file, buffer data, size_t size parameters) {    \
    NEXT(name);                                                    \
    const long action = action_for(call, changes, nullptr, file);  \
    if (fails(action)) return -1;                                  \
    if (action == kHalf && size > 1) size /= 2;                    \
    return finish(action, real(file, data, size rest));            \
  }
#define NQ_POSITION , off_t position
#define NQ_AT , position
#define NQ_NONE
NQ_TRANSFER(read, "read", false, void*, NQ_NONE, NQ_NONE)
NQ_TRANSFER(pread, "pread", false, void*, NQ_POSITION, NQ_AT)
NQ_TRANSFER(pread64, "pread", false, void*, NQ_POSITION, NQ_AT)
NQ_TRANSFER(write, "write", true, const void*, NQ_NONE, NQ_NONE)
NQ_TRANSFER(pwrite, "pwrite", true, const void*, NQ_POSITION, NQ_AT)
NQ_TRANSFER(pwrite64, "pwrite", true, const void*, NQ_POSITION, NQ_AT)

#define NQ_CALL(name, call, changes, path, file, parameters, arguments) \
  int name parameters {                                                 \
    NEXT(name);                                                         \
    const long action = action_for(call, changes, path, file);          \
    return fails(action) ? -1 : finish(action, real arguments);         \
  }
NQ_CALL(fsync, "fsync", true, nullptr, file, (int file), (file))
NQ_CALL(fdatasync, "fsync", true, nullptr, file, (int file), (file))
NQ_CALL(ftruncate, "resize", true, nullptr, file, (int file, off_t size), (file, size))
NQ_CALL(ftruncate64, "resize", true, nullptr, file, (int file, off_t size), (file, size))
NQ_CALL(rename, "rename", true, from, -1, (const char* from, const char* to), (from, to))
NQ_CALL(unlink, "unlink", true, path, -1, (const char* path), (path))
NQ_CALL(link, "link", true, to, -1, (const char* from, const char* to), (from, to))
NQ_CALL(mkdir, "mkdir", true, path, -1, (const char* path, mode_t mode), (path, mode))
NQ_CALL(madvise, "madvise", false, "", -1, (void* start, size_t size, int advice), (start, size, advice))
NQ_CALL(mincore, "mincore", false, "", -1, (void* start, size_t size, unsigned char* out), (start, size, out))

#define NQ_FALLOCATE(name)                                                                  \
  int name(int file, off_t start, off_t size) {                                             \
    NEXT(name);                                                                             \
    const long action = action_for("resize", true, nullptr, file);                          \
    return action > 0 ? static_cast<int>(action) : finish(action, real(file, start, size)); \
  }
NQ_FALLOCATE(posix_fallocate)
NQ_FALLOCATE(posix_fallocate64)

#define NQ_MMAP(name)                                                                   \
  void* name(void* start, size_t size, int protection, int flags, int file, off_t at) { \
    NEXT(name);                                                                         \
    const long action = file < 0 ? 0 : action_for("mmap", false, nullptr, file);        \
    return fails(action) ? MAP_FAILED : real(start, size, protection, flags, file, at); \
  }
NQ_MMAP(mmap)
NQ_MMAP(mmap64)

long syscall(long number, ...) {
  long a[6];
  va_list arguments;
  va_start(arguments, number);
  for (long& each : a) each = va_arg(arguments, long);
  va_end(arguments);
  NEXT(syscall);
#ifdef SYS_arch_prctl
  if (number == SYS_arch_prctl && fails(action_for("arch_prctl", false, "", -1))) return -1;
#endif
  return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  NEXT(pthread_create);
  const long action = action_for("pthread_create", false, "", -1);
  return action > 0 ? static_cast<int>(action) : real(thread, attributes, start, argument);
}

static bool memory_is_short() { return fails(action_for("allocate", false, "", -1)); }

void* malloc(size_t size) { return memory_is_short() ? nullptr : __libc_malloc(size); }
void* calloc(size_t count, size_t size) { return memory_is_short() ? nullptr : __libc_calloc(count, size); }
void* realloc(void* memory, size_t size) { return memory_is_short() ? nullptr : __libc_realloc(memory, size); }
void* memalign(size_t alignment, size_t size) { return memory_is_short() ? nullptr : __libc_memalign(alignment, size); }
void* aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }
int posix_memalign(void** memory, size_t alignment, size_t size) {
  void* made = memalign(alignment, size);
  if (made == nullptr) return ENOMEM;
  *memory = made;
  return 0;
}

}  // extern "C"
