/* nq_tflite's C API: sessions, precision, residency.
 *
 * A session connects one interpreter to its controller. Open one, pass its decimal value to the external delegate as
 * the option "session", build the interpreter, allocate its tensors, and from then on switch precision through the
 * session from any thread:
 *
 *   nq_session session = nq_session_open();
 *   ... load this library as an external delegate with the option session=<session> ...
 *   nq_session_set_level(session, 0, 0, NULL);     // part-bit from the next invocation on
 *   nq_session_close(session);
 *
 * Whole programs: custom_ops/examples/tflite_c.c for TFLite's C library, litert_c.c for LiteRT's CompiledModel.
 *
 * Delegate options (all optional): "session" as above; "precision" = "full" (default), "part" or a number of bits;
 * "fuse" = "1" to compute on packed weights wherever there is a kernel, "0" to unpack them all for the runtime's
 * kernels, "auto" (default) for 1 where the CPU has a vector instruction set that the kernels use. Layers of floats run
 * at dynamic range where they are fused: activations are quantized to int8 at run time. "num_threads" = "0" (default)
 * takes as many threads as the runtime recommends; LiteRT's CompiledModel recommends none, so give it a number there.
 *
 * Runtimes: TFLite's C++ and C libraries from 2.14 on, and LiteRT's. Load a model from a file, so that it is mapped:
 * memory that is not cannot be given back. TFLite's C library up to 2.17 hides from an interpreter what lies outside a
 * model's flatbuffer, and with it the levels; this library finds them in the mapping, and refuses there a model that
 * was given as bytes. The order of an end: the interpreter or compiled model, then its delegate, then the session.
 *
 * Every function is thread-safe. A failed call changes nothing; nq_last_error() then says what was expected, what was
 * found and what to do, for the calling thread. Pointers that are given out are this library's.
 *
 * Versions are semantic (nq_version()). Programs compiled against this header run with every later library of the same
 * major version: within one, no function, constant or field is removed or changed, and new ones come with a new minor
 * version. Sizes and layouts are fixed: a struct grows in a new major version only. */
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

/* A handle; 0 is no session. Handles are never reused within a process. */
typedef uint64_t nq_session;

typedef enum nq_status {
  NQ_OK = 0,
  NQ_INVALID_ARGUMENT = 1, /* no such session, level or option */
  NQ_NOT_READY = 2,        /* no nested model has been loaded into the session yet */
  NQ_DATA_LOSS = 3,        /* a section's checksum does not match its bytes */
  NQ_INVALID_MODEL = 4,    /* the model breaks a rule of the format */
  NQ_SYSTEM = 5            /* the operating system refused; the message has its reason */
} nq_status;

/* What a switch did. Bytes are those of whole sections; 0 where the switch moved nothing or cannot page. */
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
  NQ_FUSED = 0,    /* in a partition, with this library's kernels, which compute on packed weights */
  NQ_UNPACKED = 1, /* with the runtime's kernels; its nested weight is unpacked for them at every invocation */
  NQ_RUNTIME = 2   /* with the runtime's kernels or another delegate's */
} nq_place;

/* One operator of the model. An operator that unpacks a weight is told of together with the one that reads it. */
typedef struct nq_operator {
  const char* name;   /* as TFLite's schema has it, "CONV_2D"; a custom operator's own */
  const char* output; /* name of its first output tensor; "" without one */
  const char* weight; /* name of its nested weight; NULL without one */
  const char* reason; /* why it is not fused; NULL where it is */
  int32_t place;      /* nq_place */
} nq_operator;

/* One kind of kernel, and the one of it in use. */
typedef struct nq_kernel {
  const char* kind;
  const char* isa; /* "scalar", or an instruction set's name */
} nq_kernel;

/* The library's semantic version, "1.2.3", and the format version it reads, major * 1000 + minor. */
NQ_EXPORT const char* nq_version(void);
NQ_EXPORT int32_t nq_format_version(void);

/* The matrix kernel in use, "scalar" or an instruction set's name; NQ_ISA in the environment forces one. "" if NQ_ISA
 * names none that this CPU can run: nq_last_error() lists those that it can. Kernels of other kinds may be another
 * instruction set's: nq_kernels(). */
NQ_EXPORT const char* nq_isa(void);

/* The kernel of every kind that a delegate created now would use: "matrix", "depthwise", "unpack", "quantize",
 * "addition", "elementwise", "checksum"; later versions may have more. A name that NQ_ISA forces selects of each kind
 * the best one that needs no more than it. The array is valid until the calling thread's next call of this function. */
NQ_EXPORT nq_status nq_kernels(const nq_kernel** kernels, int32_t* count);

/* 0 if memory is short. */
NQ_EXPORT nq_session nq_session_open(void);
/* Forgets the handle; an interpreter that still runs keeps the precision it has. 0 and unknown handles are ignored. */
NQ_EXPORT void nq_session_close(nq_session session);

/* Checks what the delegate collected and pages in the levels of the starting precision. Called by the first
 * AllocateTensors at the latest; calling it earlier gives the error a place of its own. NQ_OK without nested weights.
 */
NQ_EXPORT nq_status nq_session_prepare(nq_session session);

/* Number of levels (0: the model has no nested weights) and, for level < count, the precision in bits that it gives. */
NQ_EXPORT nq_status nq_session_levels(nq_session session, int32_t* count, int32_t* bits, int32_t capacity);

/* The level that the next invocation uses, counted from 0 (part-bit). */
NQ_EXPORT nq_status nq_session_get_level(nq_session session, int32_t* level);

/* Switches; effective at the next invocation, never in the middle of one. `result` may be NULL. An upgrade is refused
 * with NQ_DATA_LOSS where the model's file has been cut or does not have its bytes any more. */
NQ_EXPORT nq_status nq_session_set_level(nq_session session, int32_t level, uint32_t flags, nq_switch_result* result);

/* Size of a level's section and the bytes of it that this process holds in memory. Without a file mapping
 * (`*pageable` = 0) all of it is held. Any of the pointers may be NULL; without `resident` the system is not asked. */
NQ_EXPORT nq_status nq_session_memory(nq_session session, int32_t level, uint64_t* size, uint64_t* resident,
                                      int32_t* pageable);

/* Number of nested weights in the model. */
NQ_EXPORT nq_status nq_session_num_weights(nq_session session, int32_t* count);

/* How the delegate divided the model: its operators in the order they run, and how many partitions the fused ones form.
 * The array and its strings are valid until the calling thread's next call of this function. */
NQ_EXPORT nq_status nq_session_delegation(nq_session session, const nq_operator** operators, int32_t* count,
                                          int32_t* num_partitions);

/* Tells the session that an invocation failed between operators, or that one of a model with loops has ended, so that a
 * deferred page-out does not wait for the next one. Not to be called while one runs. */
NQ_EXPORT nq_status nq_session_invocation_ended(nq_session session);

/* The message of the calling thread's last failure, of a call of this library or, because of this library, of the
 * runtime (AllocateTensors, say); "" if none failed. Valid until the thread's next call. */
NQ_EXPORT const char* nq_last_error(void);

/* TFLite's external delegate entry points: loaded by the runtime, or called by a program that gives the delegate to its
 * interpreter. NULL after a failure, which report_error (it may be NULL) is told. */
struct TfLiteDelegate;
NQ_EXPORT struct TfLiteDelegate* tflite_plugin_create_delegate(char** options_keys, char** options_values,
                                                               size_t num_options, void (*report_error)(const char*));
NQ_EXPORT void tflite_plugin_destroy_delegate(struct TfLiteDelegate* delegate);

/* LiteRT's accelerator entry point, a LiteRtAcceleratorDef of version 1. An environment takes it as the value of
 * kLiteRtEnvOptionTagSystemGpuAcceleratorHandle, or loads it itself from a folder that it is given as
 * kLiteRtEnvOptionTagRuntimeLibraryDir, where this library is named libLiteRtGpuAccelerator.so. Either way it takes the
 * place of an accelerator for GPUs, and comes before XNNPACK: what is left of a graph is XNNPACK's. */
struct LiteRtAcceleratorDef;
NQ_EXPORT extern const struct LiteRtAcceleratorDef LiteRtAcceleratorImpl;

/* Options of the delegates that LiteRT asks for on the calling thread from now on: those of an external delegate. Call
 * it before LiteRtCreateCompiledModel, with a session of its own for each model, and with 0 options afterwards. Forgets
 * the thread's last error, so that nq_last_error() is "" if a model cannot be compiled for others' reasons. */
NQ_EXPORT nq_status nq_accelerator_set_options(const char* const* keys, const char* const* values, size_t num_options);

#ifdef __cplusplus
}
#endif

#endif /* NQ_H_ */
