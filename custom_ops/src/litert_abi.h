// The part of LiteRT's C ABI that its accelerators share with it, in our own declarations, version 1 of both structs:
// what runs before the known fields is counted, what comes behind them is left out.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tflite_abi.h"

using LiteRtStatus = int;
inline constexpr LiteRtStatus kLiteRtStatusOk = 0;
inline constexpr LiteRtStatus kLiteRtStatusErrorRuntimeFailure = 3;
inline constexpr LiteRtStatus kLiteRtStatusErrorWrongVersion = 8;

using LiteRtHwAcceleratorSet = int;
inline constexpr LiteRtHwAcceleratorSet kLiteRtHwAcceleratorCpu = 1;

struct LiteRtAccelerator;
struct LiteRtDelegateWrapper;
struct LiteRtEnvironment;
struct LiteRtOptions;

struct LiteRtApiVersion {
  int major, minor, patch;
};

// Starts every struct of the ABI.
struct LiteRtAbiHeader {
  uint16_t struct_size, major_version, minor_version, reserved;
};

// What an accelerator may call.
struct LiteRtRuntimeContext {
  LiteRtAbiHeader header;
  void* not_used[17];
  LiteRtStatus (*wrap_delegate)(TfLiteDelegate* delegate, void (*deleter)(TfLiteDelegate* delegate),
                                LiteRtDelegateWrapper** wrapper);
};

struct LiteRtBufferHandlers {
  LiteRtAbiHeader header;
  void* functions[6];
  int device_tag, queue_tag;
  size_t num_supported_types;
  int supported_types[16];
};

struct LiteRtAcceleratorDef {
  LiteRtAbiHeader header;
  LiteRtStatus (*get_name)(const LiteRtAccelerator* accelerator, const char** name);
  LiteRtStatus (*get_version)(const LiteRtAccelerator* accelerator, LiteRtApiVersion* version);
  LiteRtStatus (*get_hardware_support)(const LiteRtAccelerator* accelerator, LiteRtHwAcceleratorSet* hardware);
  LiteRtStatus (*is_delegate_responsible_for_jit)(const LiteRtAccelerator* accelerator, bool* responsible);
  LiteRtStatus (*create_delegate)(LiteRtRuntimeContext* runtime, LiteRtEnvironment* environment,
                                  const LiteRtAccelerator* accelerator, LiteRtOptions* options,
                                  LiteRtDelegateWrapper** wrapper);
  void* start_metrics_collection;
  void* stop_metrics_collection;
  LiteRtBufferHandlers buffer_handlers;
};

#if UINTPTR_MAX == UINT64_MAX
static_assert(offsetof(LiteRtRuntimeContext, wrap_delegate) == 144, "LiteRtRuntimeContext::wrap_delegate");
static_assert(offsetof(LiteRtAcceleratorDef, create_delegate) == 40, "LiteRtAcceleratorDef::create_delegate");
static_assert(offsetof(LiteRtAcceleratorDef, buffer_handlers) == 64, "LiteRtAcceleratorDef::buffer_handlers");
static_assert(sizeof(LiteRtAcceleratorDef) == 200, "LiteRtAcceleratorDef");
#endif
