/* Runs a nested model with LiteRT's CompiledModel, at every precision that it has:
 *
 *   litert_c libLiteRt.so model.tflite [input.bin]
 *
 * input.bin holds the bytes of the first input tensor; zeros without it. tflite_c.c is the same program for TFLite's
 * own C library; see there what is printed, and why the library is opened at run time. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nq.h"

enum { MAX_LEVELS = 8, MAX_PRINTED = 16, LITERT_OK = 0 };

/* LiteRT's types and constants, and those of its functions that this program calls. */
typedef struct LiteRtEnvironmentT* LiteRtEnvironment;
typedef struct LiteRtModelT* LiteRtModel;
typedef struct LiteRtOptionsT* LiteRtOptions;
typedef struct LiteRtCompiledModelT* LiteRtCompiledModel;
typedef struct LiteRtSubgraphT* LiteRtSubgraph;
typedef struct LiteRtTensorT* LiteRtTensor;
typedef struct LiteRtTensorBufferT* LiteRtTensorBuffer;
typedef struct LiteRtTensorBufferRequirementsT* LiteRtTensorBufferRequirements;
typedef struct LiteRtLayout {
  uint32_t words[17];
} LiteRtLayout;
typedef struct LiteRtRankedTensorType {
  int32_t element_type;
  LiteRtLayout layout;
} LiteRtRankedTensorType;
typedef struct LiteRtEnvOption {
  int32_t tag;
  struct {
    int32_t type;
    const void* pointer;
  } value;
} LiteRtEnvOption;

enum {
  ACCELERATOR_HANDLE = 30, /* kLiteRtEnvOptionTagSystemGpuAcceleratorHandle */
  VOID_POINTER = 9,        /* kLiteRtAnyTypeVoidPtr */
  CPU = 1,                 /* kLiteRtHwAcceleratorCpu */
  LOCK_READ = 0,           /* kLiteRtTensorBufferLockModeRead */
  LOCK_WRITE = 1           /* kLiteRtTensorBufferLockModeWrite */
};

#define LITERT_FUNCTIONS(F)                                                                                  \
  F(int, LiteRtCreateEnvironment, (int num_options, const LiteRtEnvOption* options, LiteRtEnvironment*))     \
  F(void, LiteRtDestroyEnvironment, (LiteRtEnvironment))                                                     \
  F(int, LiteRtCreateModelFromFile, (LiteRtEnvironment, const char* path, LiteRtModel*))                     \
  F(void, LiteRtDestroyModel, (LiteRtModel))                                                                 \
  F(int, LiteRtGetModelSubgraph, (LiteRtModel, size_t index, LiteRtSubgraph*))                               \
  F(int, LiteRtGetSubgraphInput, (LiteRtSubgraph, size_t index, LiteRtTensor*))                              \
  F(int, LiteRtGetSubgraphOutput, (LiteRtSubgraph, size_t index, LiteRtTensor*))                             \
  F(int, LiteRtGetRankedTensorType, (LiteRtTensor, LiteRtRankedTensorType*))                                 \
  F(int, LiteRtCreateOptions, (LiteRtOptions*))                                                              \
  F(void, LiteRtDestroyOptions, (LiteRtOptions))                                                             \
  F(int, LiteRtSetOptionsHardwareAccelerators, (LiteRtOptions, int hardware))                                \
  F(int, LiteRtCreateCompiledModel, (LiteRtEnvironment, LiteRtModel, LiteRtOptions, LiteRtCompiledModel*))   \
  F(void, LiteRtDestroyCompiledModel, (LiteRtCompiledModel))                                                 \
  F(int, LiteRtGetCompiledModelInputTensorLayout,                                                            \
    (LiteRtCompiledModel, size_t signature, size_t index, LiteRtLayout*))                                    \
  F(int, LiteRtGetCompiledModelOutputTensorLayouts,                                                          \
    (LiteRtCompiledModel, size_t signature, size_t num_layouts, LiteRtLayout*, bool update_allocation))      \
  F(int, LiteRtGetCompiledModelInputBufferRequirements,                                                      \
    (LiteRtCompiledModel, size_t signature, size_t index, LiteRtTensorBufferRequirements*))                  \
  F(int, LiteRtGetCompiledModelOutputBufferRequirements,                                                     \
    (LiteRtCompiledModel, size_t signature, size_t index, LiteRtTensorBufferRequirements*))                  \
  F(int, LiteRtCreateManagedTensorBufferFromRequirements,                                                    \
    (LiteRtEnvironment, const LiteRtRankedTensorType*, LiteRtTensorBufferRequirements, LiteRtTensorBuffer*)) \
  F(void, LiteRtDestroyTensorBuffer, (LiteRtTensorBuffer))                                                   \
  F(int, LiteRtGetTensorBufferPackedSize, (LiteRtTensorBuffer, size_t*))                                     \
  F(int, LiteRtLockTensorBuffer, (LiteRtTensorBuffer, void** data, int mode))                                \
  F(int, LiteRtUnlockTensorBuffer, (LiteRtTensorBuffer))                                                     \
  F(int, LiteRtRunCompiledModel,                                                                             \
    (LiteRtCompiledModel, size_t signature, size_t num_inputs, LiteRtTensorBuffer*, size_t num_outputs,      \
     LiteRtTensorBuffer*))

#define DECLARE(type, name, arguments) static type(*name) arguments;
LITERT_FUNCTIONS(DECLARE)

static void give_up(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(nq_status status) {
  if (status != NQ_OK) give_up("nq_tflite", nq_last_error());
}

/* What this library has to say of a failed call comes first. */
static void check_litert(int status, const char* call) {
  if (status == LITERT_OK) return;
  fprintf(stderr, "%s: status %d\n", call, status);
  give_up("nq_tflite", nq_last_error());
}
#define CALL(name, ...) check_litert(name(__VA_ARGS__), #name)

static void* find(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == NULL) give_up(name, "not in LiteRT's library");
  return function;
}

static void load_litert(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) give_up(path, dlerror());
/* memcpy, for ISO C converts no data pointer to one of a function. */
#define LOAD(type, name, arguments)     \
  {                                     \
    void* found = find(library, #name); \
    memcpy(&name, &found, sizeof name); \
  }
  LITERT_FUNCTIONS(LOAD)
}

/* An environment whose first accelerator is nq_tflite: it has the choice of operators before XNNPACK. */
static LiteRtEnvironment create_environment(void) {
  const LiteRtEnvOption option = {ACCELERATOR_HANDLE, {VOID_POINTER, &LiteRtAcceleratorImpl}};
  LiteRtEnvironment environment = NULL;
  CALL(LiteRtCreateEnvironment, 1, &option, &environment);
  return environment;
}

/* Part-bit to start with: the residual is not even read then. */
static LiteRtCompiledModel compile(LiteRtEnvironment environment, LiteRtModel model, nq_session session) {
  char handle[24];
  snprintf(handle, sizeof handle, "%" PRIu64, session);
  const char* keys[] = {"session", "precision", "num_threads"};
  const char* values[] = {handle, "part", "1"};
  check(nq_accelerator_set_options(keys, values, 3));
  LiteRtOptions options = NULL;
  LiteRtCompiledModel compiled = NULL;
  CALL(LiteRtCreateOptions, &options);
  CALL(LiteRtSetOptionsHardwareAccelerators, options, CPU);
  CALL(LiteRtCreateCompiledModel, environment, model, options, &compiled);
  LiteRtDestroyOptions(options);
  check(nq_accelerator_set_options(NULL, NULL, 0));
  return compiled;
}

/* Shapes are the compiled model's: the model's own may leave the batch open. */
static LiteRtTensorBuffer create_input(LiteRtEnvironment environment, LiteRtSubgraph graph,
                                       LiteRtCompiledModel compiled) {
  LiteRtTensor tensor = NULL;
  LiteRtRankedTensorType type;
  LiteRtTensorBufferRequirements requirements = NULL;
  LiteRtTensorBuffer buffer = NULL;
  CALL(LiteRtGetSubgraphInput, graph, 0, &tensor);
  CALL(LiteRtGetRankedTensorType, tensor, &type);
  CALL(LiteRtGetCompiledModelInputTensorLayout, compiled, 0, 0, &type.layout);
  CALL(LiteRtGetCompiledModelInputBufferRequirements, compiled, 0, 0, &requirements);
  CALL(LiteRtCreateManagedTensorBufferFromRequirements, environment, &type, requirements, &buffer);
  return buffer;
}

static LiteRtTensorBuffer create_output(LiteRtEnvironment environment, LiteRtSubgraph graph,
                                        LiteRtCompiledModel compiled) {
  LiteRtTensor tensor = NULL;
  LiteRtRankedTensorType type;
  LiteRtTensorBufferRequirements requirements = NULL;
  LiteRtTensorBuffer buffer = NULL;
  CALL(LiteRtGetSubgraphOutput, graph, 0, &tensor);
  CALL(LiteRtGetRankedTensorType, tensor, &type);
  CALL(LiteRtGetCompiledModelOutputTensorLayouts, compiled, 0, 1, &type.layout, false);
  CALL(LiteRtGetCompiledModelOutputBufferRequirements, compiled, 0, 0, &requirements);
  CALL(LiteRtCreateManagedTensorBufferFromRequirements, environment, &type, requirements, &buffer);
  return buffer;
}

static void read_input(const char* path, LiteRtTensorBuffer input) {
  size_t size = 0;
  void* data = NULL;
  CALL(LiteRtGetTensorBufferPackedSize, input, &size);
  CALL(LiteRtLockTensorBuffer, input, &data, LOCK_WRITE);
  memset(data, 0, size);
  if (path != NULL) {
    FILE* file = fopen(path, "rb");
    if (file == NULL) give_up(path, "cannot be opened");
    if (fread(data, 1, size, file) != size || fgetc(file) != EOF) give_up(path, "not as long as the input tensor");
    fclose(file);
  }
  CALL(LiteRtUnlockTensorBuffer, input);
}

static uint64_t resident_bytes(nq_session session, int32_t num_levels) {
  uint64_t sum = 0;
  for (int32_t level = 0; level < num_levels; ++level) {
    uint64_t resident = 0;
    check(nq_session_memory(session, level, NULL, &resident, NULL));
    sum += resident;
  }
  return sum;
}

static void print_output(LiteRtTensorBuffer output) {
  size_t size = 0;
  void* data = NULL;
  CALL(LiteRtGetTensorBufferPackedSize, output, &size);
  CALL(LiteRtLockTensorBuffer, output, &data, LOCK_READ);
  for (size_t i = 0; i < size && i < MAX_PRINTED; ++i) printf(" %02x", ((const unsigned char*)data)[i]);
  printf(size > MAX_PRINTED ? " ...\n" : "\n");
  CALL(LiteRtUnlockTensorBuffer, output);
}

static void run_at(nq_session session, int32_t level, int32_t num_levels, int32_t bits, LiteRtCompiledModel compiled,
                   LiteRtTensorBuffer input, LiteRtTensorBuffer output) {
  nq_switch_result done;
  check(nq_session_set_level(session, level, 0, &done));
  printf("switch to %" PRId32 " bits: %" PRIu64 " bytes in, %" PRIu64 " bytes out, %.3f ms\n", bits,
         done.bytes_paged_in, done.bytes_paged_out, 1e3 * done.seconds);
  CALL(LiteRtRunCompiledModel, compiled, 0, 1, &input, 1, &output);
  printf("%" PRId32 " bits: %" PRIu64 " bytes of weights resident, output", bits, resident_bytes(session, num_levels));
  print_output(output);
}

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) give_up("usage", "litert_c libLiteRt.so model.tflite [input.bin]");
  load_litert(argv[1]);
  LiteRtEnvironment environment = create_environment();
  LiteRtModel model = NULL;
  CALL(LiteRtCreateModelFromFile, environment, argv[2], &model);
  const nq_session session = nq_session_open();
  LiteRtCompiledModel compiled = compile(environment, model, session);
  check(nq_session_prepare(session)); /* says what is wrong with a model before its first run fails */

  int32_t num_levels = 0, bits[MAX_LEVELS];
  check(nq_session_levels(session, &num_levels, bits, MAX_LEVELS));
  if (num_levels == 0) give_up(argv[2], "not a nested model");
  LiteRtSubgraph graph = NULL;
  CALL(LiteRtGetModelSubgraph, model, 0, &graph);
  LiteRtTensorBuffer input = create_input(environment, graph, compiled);
  LiteRtTensorBuffer output = create_output(environment, graph, compiled);
  read_input(argc > 3 ? argv[3] : NULL, input);
  for (int32_t level = num_levels - 1; level >= 0; --level) {
    run_at(session, level, num_levels, bits[level], compiled, input, output);
  }

  LiteRtDestroyTensorBuffer(input);
  LiteRtDestroyTensorBuffer(output);
  LiteRtDestroyCompiledModel(compiled);
  LiteRtDestroyModel(model);
  LiteRtDestroyEnvironment(environment);
  nq_session_close(session);
  return 0;
}
