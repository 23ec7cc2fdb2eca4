/* Runs a nested model with TFLite's own C library, at every precision that it has:
 *
 *   tflite_c libtensorflowlite_c.so model.tflite [input.bin]
 *
 * input.bin holds the bytes of the first input tensor; zeros without it. For each precision, the most precise first,
 * one line of what the switch did and one of what the model then holds in memory and gives.
 *
 * The library is opened at run time, so that this builds where its headers are not installed. A program that has them
 * includes tensorflow/lite/c/c_api.h and links with it instead: the calls are the same. */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nq.h"

enum { MAX_LEVELS = 8, MAX_PRINTED = 16, TFLITE_OK = 0 };

/* TFLite's opaque types, and those of its functions that this program calls. */
typedef struct TfLiteModel TfLiteModel;
typedef struct TfLiteInterpreter TfLiteInterpreter;
typedef struct TfLiteInterpreterOptions TfLiteInterpreterOptions;
typedef struct TfLiteTensor TfLiteTensor;
typedef struct TfLiteDelegate TfLiteDelegate;

#define TFLITE_FUNCTIONS(F)                                                                                       \
  F(TfLiteModel*, TfLiteModelCreateFromFile, (const char* path))                                                  \
  F(void, TfLiteModelDelete, (TfLiteModel * model))                                                               \
  F(TfLiteInterpreterOptions*, TfLiteInterpreterOptionsCreate, (void))                                            \
  F(void, TfLiteInterpreterOptionsDelete, (TfLiteInterpreterOptions * options))                                   \
  F(void, TfLiteInterpreterOptionsSetNumThreads, (TfLiteInterpreterOptions * options, int32_t num_threads))       \
  F(void, TfLiteInterpreterOptionsAddDelegate, (TfLiteInterpreterOptions * options, TfLiteDelegate * delegate))   \
  F(TfLiteInterpreter*, TfLiteInterpreterCreate, (const TfLiteModel* model, TfLiteInterpreterOptions* options))   \
  F(void, TfLiteInterpreterDelete, (TfLiteInterpreter * interpreter))                                             \
  F(int, TfLiteInterpreterAllocateTensors, (TfLiteInterpreter * interpreter))                                     \
  F(int, TfLiteInterpreterInvoke, (TfLiteInterpreter * interpreter))                                              \
  F(TfLiteTensor*, TfLiteInterpreterGetInputTensor, (const TfLiteInterpreter* interpreter, int32_t index))        \
  F(const TfLiteTensor*, TfLiteInterpreterGetOutputTensor, (const TfLiteInterpreter* interpreter, int32_t index)) \
  F(void*, TfLiteTensorData, (const TfLiteTensor* tensor))                                                        \
  F(size_t, TfLiteTensorByteSize, (const TfLiteTensor* tensor))

#define DECLARE(type, name, arguments) static type(*name) arguments;
TFLITE_FUNCTIONS(DECLARE)

static void give_up(const char* what, const char* why) {
  fprintf(stderr, "%s: %s\n", what, why);
  exit(1);
}

static void check(nq_status status) {
  if (status != NQ_OK) give_up("nq_tflite", nq_last_error());
}

static void* find(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == NULL) give_up(name, "not in TFLite's library");
  return function;
}

static void load_tflite(const char* path) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) give_up(path, dlerror());
/* memcpy, for ISO C converts no data pointer to one of a function. */
#define LOAD(type, name, arguments)     \
  {                                     \
    void* found = find(library, #name); \
    memcpy(&name, &found, sizeof name); \
  }
  TFLITE_FUNCTIONS(LOAD)
}

static void report(const char* message) { fprintf(stderr, "nq_tflite: %s\n", message); }

/* The delegate of a session, part-bit to start with: the residual is not even read then. */
static TfLiteDelegate* create_delegate(nq_session session) {
  char handle[24];
  snprintf(handle, sizeof handle, "%" PRIu64, session);
  char* keys[] = {"session", "precision"};
  char* values[] = {handle, "part"};
  return tflite_plugin_create_delegate(keys, values, 2, report);
}

static void read_input(const char* path, TfLiteTensor* input) {
  memset(TfLiteTensorData(input), 0, TfLiteTensorByteSize(input));
  if (path == NULL) return;
  FILE* file = fopen(path, "rb");
  if (file == NULL) give_up(path, "cannot be opened");
  const size_t read = fread(TfLiteTensorData(input), 1, TfLiteTensorByteSize(input), file);
  if (read != TfLiteTensorByteSize(input) || fgetc(file) != EOF) give_up(path, "not as long as the input tensor");
  fclose(file);
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

static void run_at(nq_session session, int32_t level, int32_t num_levels, int32_t bits,
                   TfLiteInterpreter* interpreter) {
  nq_switch_result done;
  check(nq_session_set_level(session, level, 0, &done));
  printf("switch to %" PRId32 " bits: %" PRIu64 " bytes in, %" PRIu64 " bytes out, %.3f ms\n", bits,
         done.bytes_paged_in, done.bytes_paged_out, 1e3 * done.seconds);
  if (TfLiteInterpreterInvoke(interpreter) != TFLITE_OK) {
    nq_session_invocation_ended(session); /* a page-out may wait for it */
    give_up("TfLiteInterpreterInvoke", "failed");
  }
  printf("%" PRId32 " bits: %" PRIu64 " bytes of weights resident, output", bits, resident_bytes(session, num_levels));
  const TfLiteTensor* output = TfLiteInterpreterGetOutputTensor(interpreter, 0);
  const unsigned char* bytes = TfLiteTensorData(output);
  const size_t size = TfLiteTensorByteSize(output);
  for (size_t i = 0; i < size && i < MAX_PRINTED; ++i) printf(" %02x", bytes[i]);
  printf(size > MAX_PRINTED ? " ...\n" : "\n");
}

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) give_up("usage", "tflite_c libtensorflowlite_c.so model.tflite [input.bin]");
  load_tflite(argv[1]);
  const nq_session session = nq_session_open();
  TfLiteDelegate* delegate = create_delegate(session);
  if (delegate == NULL) return 1; /* report() has said why */

  /* From a file, so that it is mapped: memory that is not cannot be given back. */
  TfLiteModel* model = TfLiteModelCreateFromFile(argv[2]);
  if (model == NULL) give_up(argv[2], "not a model");
  TfLiteInterpreterOptions* options = TfLiteInterpreterOptionsCreate();
  TfLiteInterpreterOptionsSetNumThreads(options, 1);
  TfLiteInterpreterOptionsAddDelegate(options, delegate);
  TfLiteInterpreter* interpreter = TfLiteInterpreterCreate(model, options);
  TfLiteInterpreterOptionsDelete(options);
  if (interpreter == NULL) give_up(argv[2], "TFLite refuses it");
  check(nq_session_prepare(session)); /* says what is wrong with a model before AllocateTensors fails */
  if (TfLiteInterpreterAllocateTensors(interpreter) != TFLITE_OK) give_up(argv[2], "no memory for its tensors");
  read_input(argc > 3 ? argv[3] : NULL, TfLiteInterpreterGetInputTensor(interpreter, 0));

  int32_t num_levels = 0, bits[MAX_LEVELS];
  check(nq_session_levels(session, &num_levels, bits, MAX_LEVELS));
  if (num_levels == 0) give_up(argv[2], "not a nested model");
  for (int32_t level = num_levels - 1; level >= 0; --level)
    run_at(session, level, num_levels, bits[level], interpreter);

  TfLiteInterpreterDelete(interpreter); /* before its delegate and its model */
  tflite_plugin_destroy_delegate(delegate);
  TfLiteModelDelete(model);
  nq_session_close(session);
  return 0;
}
