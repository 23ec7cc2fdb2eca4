// A plugin for qemu-user that prints how many instructions a program has executed:
//
//   g++ -shared -fPIC -O2 -o libqemu_count.so qemu_count.cc
//   qemu-aarch64 -plugin ./libqemu_count.so -d plugin -D counts.txt program
//
// Exact for one thread: the counters of several would race. The few declarations of QEMU's plugin interface, version 1
// (QEMU 4.2 to 8.2), are here because distributions do not package its header.
#include <cinttypes>
#include <cstddef>
#include <cstdint>
#include <cstdio>

extern "C" {
struct qemu_plugin_tb;
struct qemu_info_t;
using qemu_plugin_id_t = uint64_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, qemu_plugin_tb* tb));
void qemu_plugin_register_vcpu_tb_exec_inline(qemu_plugin_tb* tb, qemu_plugin_op op, void* counter, uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, void (*call)(qemu_plugin_id_t id, void* data), void* data);
size_t qemu_plugin_tb_n_insns(const qemu_plugin_tb* tb);
void qemu_plugin_outs(const char* text);

__attribute__((visibility("default"))) extern const int qemu_plugin_version;
const int qemu_plugin_version = 1;
}

namespace {

uint64_t executed = 0;

void on_translation(qemu_plugin_id_t, qemu_plugin_tb* tb) {
  qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &executed, qemu_plugin_tb_n_insns(tb));
}

void on_exit(qemu_plugin_id_t, void*) {
  char line[64];
  std::snprintf(line, sizeof(line), "%" PRIu64 " instructions\n", executed);
  qemu_plugin_outs(line);
}

}  // namespace

extern "C" __attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t*, int,
                                                                          char**) {
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  qemu_plugin_register_atexit_cb(id, on_exit, nullptr);
  return 0;
}
