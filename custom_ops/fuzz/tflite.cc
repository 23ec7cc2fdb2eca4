#include "tflite.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace nq_fuzz {
namespace {

[[noreturn]] void give_up(const char* what, const char* why) {
  std::fprintf(stderr, "%s: %s\n", what, why);
  std::exit(1);
}

template <typename Function>
void find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function == nullptr) give_up(name, "not in TFLite's library");
}

TfLite load() {
  const char* path = std::getenv("NQ_TFLITE_C");
  if (path == nullptr) give_up("NQ_TFLITE_C", "not set; expected the path of libtensorflowlite_c.so");
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) give_up(path, dlerror());
  TfLite functions;
#define NQ_FIND(type, name, arguments) find(library, "TfLite" #name, &functions.name);
  NQ_TFLITE_FUNCTIONS(NQ_FIND)
#undef NQ_FIND
  return functions;
}

}  // namespace

const TfLite& tflite() {
  static const TfLite functions = load();
  return functions;
}

}  // namespace nq_fuzz
