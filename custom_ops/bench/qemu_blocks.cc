// A plugin for qemu-user that writes how often each block of instructions ran between two marks, which are the
// program's first two calls of getsid(): a line "address instructions times" a block.
//
//   g++ -shared -fPIC -O2 -o libqemu_blocks.so qemu_blocks.cc
//   qemu-aarch64 -plugin ./libqemu_blocks.so,out=blocks.txt -d plugin -D /dev/null program
//
// Exact for one thread: the counters of several would race. The few declarations of QEMU's plugin interface, version 1
// (QEMU 4.2 to 8.2), are here because distributions do not package its header.
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>

extern "C" {
struct qemu_plugin_tb;
struct qemu_info_t;
using qemu_plugin_id_t = uint64_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
using qemu_plugin_syscall_t = void (*)(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t, uint64_t, uint64_t,
                                       uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, qemu_plugin_tb* tb));
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb* tb, qemu_plugin_op op, void* counter, uint64_t add);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t id, qemu_plugin_syscall_t call);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* tb);
uint64_t qemu_plugin_tb_vaddr(const qemu_plugin_tb* tb);

__attribute__((visibility("default"))) extern const int qemu_plugin_version;
const int qemu_plugin_version = 1;
}

namespace {

constexpr int64_t kGetsid = 156;  // of 64-bit Arm

struct Block {
  uint64_t address, instructions;
  uint64_t times = 0, at_first_mark = 0;
};

std::deque<Block> blocks;  // code that runs counts in them: they must not move
int marks = 0;
std::string path = "blocks.txt";

void on_translation(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  blocks.push_back({qemu_plugin_tb_vaddr(tb), qemu_plugin_tb_n_insns(tb)});
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &blocks.back().times, 1);
}

void write_blocks() {
  FILE* file = std::fopen(path.c_str(), "w");
  if (file == nullptr) return;  // who reads the file finds none
  for (const Block& block : blocks) {
    if (block.times == block.at_first_mark) continue;
    std::fprintf(file, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block.address, block.instructions,
                 block.times - block.at_first_mark);
  }
  std::fclose(file);
}

void on_syscall(qemu_plugin_id_t, unsigned, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                uint64_t, uint64_t) {
  if (number != kGetsid) return;
  if (++marks == 1) {
    for (Block& block : blocks) block.at_first_mark = block.times;
  } else if (marks == 2) {
    write_blocks();
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*,
                                                                          int num_options, char** options) {
  constexpr char kOut[] = "out=";
  for (int i = 0; i < num_options; ++i) {
    if (std::strncmp(options[i], kOut, sizeof(kOut) - 1) == 0) path = options[i] + sizeof(kOut) - 1;
  }
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
  return 0;
}
