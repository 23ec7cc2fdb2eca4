/* nq_tflite's C API: sessions, precision, residency.
 *
 * A session connects one interpreter to its controller. Open a session, and pass its decimal value to the external
 * delegate as the option "session". Build the interpreter and allocate its tensors. From then on, any thread can switch
 * the precision through the session:
 *
 *   nq_session session = nq_session_open();
 *   ... load this library as an external delegate with the option session=<session> ...
 *   nq_session_set_level(session, 0, 0, NULL);     // part-bit from the next invocation on
 *   nq_session_close(session);
 *
 * Whole programs: custom_ops/examples/tflite_c.c for TFLite's C library, litert_c.c for LiteRT's CompiledModel.
 *
 * Delegate options (all optional): "session" as above; "precision" = "full" (default), "part" or a number of bits;
 * "fuse" = "1" to compute on packed weights wherever there is a kernel, "0" to unpack all weights for the runtime's
 * kernels, "auto" (default) to choose "1" if the CPU has a vector instruction set that the kernels use. Fused float
 * layers run at dynamic range: their inputs are quantized to int8 at run time. "num_threads" = "0" (default) uses the
 * number of threads that the runtime recommends. LiteRT's CompiledModel recommends none, so set a number there.
 * "profile" = "1" keeps the time of every layer for nq_session_profile(); "0" (default) reads no clock.
 *
 * Runtimes: TFLite's C++ and C libraries from 2.14 on, and LiteRT's. Load a model from a file, so that it is mapped:
 * only mapped memory can be released. TFLite's C library up to 2.17 exposes only a model's flatbuffer, and not the
 * levels after it. This library then finds the levels in the file's mapping, and refuses a model that was given as
 * bytes. Destroy the interpreter or compiled model first, then its delegate, then the session.
 *
 * Every function is thread-safe. A failed call changes nothing. nq_last_error() then says, in the calling thread, what
 * was expected, what was found and what to do. Returned pointers belong to this library; do not free them.
 *
 * Versions are semantic (nq_version()). A program compiled against this header runs with every later library of the
 * same major version: no function, constant or field is removed or changed within a major version, and new ones come
 * with a new minor version. Sizes and layouts are fixed: a struct grows only in a new major version. */
#ifndef NQ_H_
#define NQ_H_

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define NQ_EXPORT __declspec(dllexport)
#else
#define NQ_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* A handle; 0 means no session. Handles are never reused within a process. */
typedef uint64_t nq_session;

typedef enum nq_status {
  NQ_OK = 0,
  NQ_INVALID_ARGUMENT = 1, /* no such session, level or option */
  NQ_NOT_READY = 2,        /* no nested model has been loaded into the session yet */
  NQ_DATA_LOSS = 3,        /* a section's checksum does not match its bytes */
  NQ_INVALID_MODEL = 4,    /* the model breaks a rule of the format */
  NQ_SYSTEM = 5            /* the operating system refused; the message has its reason */
} nq_status;

/* What a switch did. Byte counts are those of whole sections; 0 if the switch moved nothing or cannot page. */
typedef struct nq_switch_result {
  int32_t from_level;
  int32_t to_level;
  uint64_t bytes_paged_in;
  uint64_t bytes_paged_out;
  double seconds;
  int32_t deferred; /* 1 if an invocation was running: pages are released when it ends, and are not counted above */
} nq_switch_result;

enum {
  NQ_DROP_PAGE_CACHE = 1u << 0 /* on a page-out, ask the system to forget the file's cached pages too */
};

/* Where an operator of the model runs. */
typedef enum nq_place {
  NQ_FUSED = 0,    /* in a partition, by this library's kernels, which compute on packed weights */
  NQ_UNPACKED = 1, /* by the runtime's kernels; its nested weight is unpacked for them at every invocation */
  NQ_RUNTIME = 2   /* by the runtime's kernels or another delegate's */
} nq_place;

/* One operator of the model. An operator that unpacks a weight is listed together with the one that reads it. */
typedef struct nq_operator {
  const char* name;   /* its name in TFLite's schema, such as "CONV_2D", or the name of a custom operator */
  const char* output; /* name of its first output tensor; "" without one */
  const char* weight; /* name of its nested weight; NULL without one */
  const char* reason; /* why it is not fused; NULL if it is */
  int32_t place;      /* nq_place */
} nq_operator;

/* The time of a layer: an operator, or several that this library computes as one. */
typedef struct nq_layer_time {
  const char* name;     /* names of its operators in TFLite's schema, such as "CONV_2D + ADD" */
  const char* output;   /* name of the tensor that it computes */
  const char* weight;   /* name of its nested weight; NULL without one */
  const int32_t* shape; /* of the output, num_dims numbers */
  int32_t num_dims;
  int32_t place;        /* NQ_FUSED; or NQ_UNPACKED: a nested weight is unpacked, and the runtime reads it */
  uint64_t macs;        /* multiplications, each with an addition, of matrix products and convolutions; else 0 */
  uint64_t bytes;       /* of the tensors that it reads and writes and of its packed weight at this level, each once */
  uint64_t invocations; /* that were timed */
  uint64_t nanoseconds; /* of all of them together */
  uint64_t least;       /* nanoseconds of the fastest one */
} nq_layer_time;

/* A kind of kernel, and the instruction set of the one in use. */
typedef struct nq_kernel {
  const char* kind;
  const char* isa; /* "scalar", or an instruction set's name */
} nq_kernel;

/* The library's semantic version, "1.2.3", and the format version it reads, major * 1000 + minor. */
NQ_EXPORT const char* nq_version(void);
NQ_EXPORT int32_t nq_format_version(void);

/* The matrix kernel in use, "scalar" or an instruction set's name; NQ_ISA in the environment forces one. "" if NQ_ISA
 * names none that this CPU can run; nq_last_error() then lists those that it can. Kernels of other kinds may use
 * another instruction set, see nq_kernels(). */
NQ_EXPORT const char* nq_isa(void);

/* The kernel of every kind that a delegate created now would use: "matrix", "depthwise", "unpack", "quantize",
 * "addition", "elementwise", "checksum"; later versions may have more. If NQ_ISA forces an instruction set, the best
 * kernel of each kind that needs no more than it is selected. The array is valid until the calling thread's next call
 * of this function. */
NQ_EXPORT nq_status nq_kernels(const nq_kernel** kernels, int32_t* count);

/* Opens a session. Returns 0 if memory is short. */
NQ_EXPORT nq_session nq_session_open(void);
/* Forgets the handle. An interpreter that still runs keeps its precision. 0 and unknown handles are ignored. */
NQ_EXPORT void nq_session_close(nq_session session);

/* Checks what the delegate collected, and pages in the levels of the starting precision. The first AllocateTensors
 * calls it at the latest. Call it earlier to get its error separately. NQ_OK without nested weights. */
NQ_EXPORT nq_status nq_session_prepare(nq_session session);

/* The number of levels (0: the model has no nested weights), and the precision in bits of each, up to `capacity`. */
NQ_EXPORT nq_status nq_session_levels(nq_session session, int32_t* count, int32_t* bits, int32_t capacity);

/* The level that the next invocation uses, counted from 0 (part-bit). */
NQ_EXPORT nq_status nq_session_get_level(nq_session session, int32_t* level);

/* Switches from the next invocation on, never in the middle of one. `result` may be NULL. An upgrade fails with
 * NQ_DATA_LOSS if the model's file has been truncated or no longer has its bytes. */
NQ_EXPORT nq_status nq_session_set_level(nq_session session, int32_t level, uint32_t flags, nq_switch_result* result);

/* The size of a level's section, and how many of its bytes are resident in this process. Without a file mapping
 * (`*pageable` = 0), all of them are. Any pointer may be NULL; without `resident` the system is not asked. */
NQ_EXPORT nq_status nq_session_memory(nq_session session, int32_t level, uint64_t* size, uint64_t* resident,
                                      int32_t* pageable);

/* The number of nested weights in the model. */
NQ_EXPORT nq_status nq_session_num_weights(nq_session session, int32_t* count);

/* How the delegate divided the model: the operators in the order they run, and the number of partitions that the fused
 * ones form. The array and its strings are valid until the calling thread's next call of this function. */
NQ_EXPORT nq_status nq_session_delegation(nq_session session, const nq_operator** operators, int32_t* count,
                                          int32_t* num_partitions);

/* The time of every layer that this library computes, in the order they run, in the invocations that ran at `level` (0
 * for a model without nested weights). The session's delegate needs the option "profile" = "1". The runtime's own
 * operators are not listed. An invocation that fails is not counted, and all times start again when tensors are
 * allocated again. The array and its strings are valid until the calling thread's next call of this function. */
NQ_EXPORT nq_status nq_session_profile(nq_session session, int32_t level, const nq_layer_time** layers, int32_t* count);

/* Forgets the times of all levels, such as those of invocations that warmed up. */
NQ_EXPORT nq_status nq_session_reset_profile(nq_session session);

/* Tells the session that an invocation failed between operators, or that an invocation of a model with loops has ended.
 * A deferred page-out then does not wait for the next invocation. Do not call it while an invocation runs. */
NQ_EXPORT nq_status nq_session_invocation_ended(nq_session session);

/* The message of the calling thread's last failure: of a call of this library, or of the runtime if this library was
 * the cause (in AllocateTensors, for example). "" if nothing failed. Valid until the thread's next call. */
NQ_EXPORT const char* nq_last_error(void);

/* TFLite's external delegate entry points. The runtime loads them, or a program calls them and gives the delegate to
 * its interpreter. Returns NULL after a failure, and passes its message to report_error, which may be NULL. */
struct TfLiteDelegate;
NQ_EXPORT struct TfLiteDelegate* tflite_plugin_create_delegate(char** options_keys, char** options_values,
                                                               size_t num_options, void (*report_error)(const char*));
NQ_EXPORT void tflite_plugin_destroy_delegate(struct TfLiteDelegate* delegate);

/* LiteRT's accelerator entry point, a LiteRtAcceleratorDef of version 1. Pass it to an environment as the value of
 * kLiteRtEnvOptionTagSystemGpuAcceleratorHandle. Or name this library libLiteRtGpuAccelerator.so, and pass its folder
 * as kLiteRtEnvOptionTagRuntimeLibraryDir. Either way it takes the place of a GPU accelerator and comes before XNNPACK,
 * which runs the rest of the graph. */
struct LiteRtAcceleratorDef;
NQ_EXPORT extern const struct LiteRtAcceleratorDef LiteRtAcceleratorImpl;

/* Sets the options, as of an external delegate, of all delegates that LiteRT creates on the calling thread from now on.
 * Call it before LiteRtCreateCompiledModel with a separate session for each model, and afterwards with 0 options. It
 * clears the thread's last error, so that nq_last_error() is "" if a compilation fails for other reasons. */
NQ_EXPORT nq_status nq_accelerator_set_options(const char* const* keys, const char* const* values, size_t num_options);

#ifdef __cplusplus
}
#endif

#endif /* NQ_H_ */
