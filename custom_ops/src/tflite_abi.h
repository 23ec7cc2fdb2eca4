// The part of TFLite's C ABI that this library touches, in our own declarations: no runtime ships its headers, and this
// prefix is the same in all of them. Names and field order are TFLite's; what is never read is left out at the end.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

struct TfLiteContext;
struct TfLiteDelegate;
struct TfLiteNode;

using TfLiteStatus = int;
inline constexpr TfLiteStatus kTfLiteOk = 0;
inline constexpr TfLiteStatus kTfLiteError = 1;

using TfLiteType = int;
inline constexpr TfLiteType kTfLiteFloat32 = 1;
inline constexpr TfLiteType kTfLiteInt32 = 2;
inline constexpr TfLiteType kTfLiteUInt8 = 3;
inline constexpr TfLiteType kTfLiteFloat16 = 10;
inline constexpr TfLiteType kTfLiteInt8 = 9;

using TfLiteAllocationType = int;
inline constexpr TfLiteAllocationType kTfLiteMmapRo = 1;

using TfLiteQuantizationType = int;
inline constexpr TfLiteQuantizationType kTfLiteAffineQuantization = 1;

inline constexpr int32_t kTfLiteBuiltinDelegate = 51;

// Bits of TfLiteRegistration::inplace_operator: the output may have the first input's memory, and has its values.
inline constexpr uint64_t kTfLiteInplaceOpNone = 0;
inline constexpr uint64_t kTfLiteInplaceOpDataUnmodified = 1;
inline constexpr uint64_t kTfLiteInplaceOpInput0Shared = 4;

inline constexpr int64_t kTfLiteDelegateFlagsAllowDynamicTensors = 1;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wc99-extensions"
#endif
struct TfLiteIntArray {
  int size;
  int data[];  // in C++ an extension, which GCC and Clang have
};

struct TfLiteFloatArray {
  int size;
  float data[];
};
#pragma GCC diagnostic pop

struct TfLiteQuantizationParams {
  float scale;
  int32_t zero_point;
};

struct TfLiteAffineQuantization {
  TfLiteFloatArray* scale;
  TfLiteIntArray* zero_point;
  int32_t quantized_dimension;
};

struct TfLiteQuantization {
  TfLiteQuantizationType type;
  void* params;
};

struct TfLiteTensor {
  TfLiteType type;
  void* data;
  TfLiteIntArray* dims;
  TfLiteQuantizationParams params;
  TfLiteAllocationType allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  TfLiteDelegate* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  TfLiteQuantization quantization;
  void* sparsity;
  const TfLiteIntArray* dims_signature;
};

struct TfLiteNode {
  TfLiteIntArray* inputs;
  TfLiteIntArray* outputs;
  TfLiteIntArray* intermediates;
  TfLiteIntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int custom_initial_data_size;
  TfLiteDelegate* delegate;
  bool might_have_side_effect;
};

// Passed by value and grown over the years: the zeros behind the known fields stand for those to come.
struct TfLiteRegistration {
  void* (*init)(TfLiteContext* context, const char* buffer, size_t length);
  void (*free)(TfLiteContext* context, void* buffer);
  TfLiteStatus (*prepare)(TfLiteContext* context, TfLiteNode* node);
  TfLiteStatus (*invoke)(TfLiteContext* context, TfLiteNode* node);
  const char* (*profiling_string)(const TfLiteContext* context, const TfLiteNode* node);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* async_kernel;
  uint64_t inplace_operator;
  uint64_t padding[8];
};

struct TfLiteDelegateParams {
  TfLiteDelegate* delegate;
  TfLiteIntArray* nodes_to_replace;
  TfLiteIntArray* input_tensors;
  TfLiteIntArray* output_tensors;
};

struct TfLiteContext {
  size_t tensors_size;
  TfLiteStatus (*GetExecutionPlan)(TfLiteContext* context, TfLiteIntArray** execution_plan);
  TfLiteTensor* tensors;
  void* impl_;
  TfLiteStatus (*ResizeTensor)(TfLiteContext* context, TfLiteTensor* tensor, TfLiteIntArray* new_size);
  void (*ReportError)(TfLiteContext* context, const char* format, ...);
  TfLiteStatus (*AddTensors)(TfLiteContext* context, int tensors_to_add, int* first_new_tensor_index);
  TfLiteStatus (*GetNodeAndRegistration)(TfLiteContext* context, int node_index, TfLiteNode** node,
                                         TfLiteRegistration** registration);
  TfLiteStatus (*ReplaceNodeSubsetsWithDelegateKernels)(TfLiteContext* context, TfLiteRegistration registration,
                                                        const TfLiteIntArray* nodes_to_replace,
                                                        TfLiteDelegate* delegate);
  int recommended_num_threads;
  void* (*GetExternalContext)(TfLiteContext* context, int type);
  void (*SetExternalContext)(TfLiteContext* context, int type, void* external);
  bool allow_fp32_relax_to_fp16;
  void* profiler;
  void* (*AllocatePersistentBuffer)(TfLiteContext* context, size_t bytes);
  TfLiteStatus (*AllocateBufferForEval)(TfLiteContext* context, size_t bytes, void** buffer);
  TfLiteStatus (*RequestScratchBufferInArena)(TfLiteContext* context, size_t bytes, int* buffer_index);
  void* (*GetScratchBuffer)(TfLiteContext* context, int buffer_index);
  TfLiteStatus (*ResizeTensorExplicit)(TfLiteContext* context, TfLiteTensor* tensor, int dims, const int* shape);
  // The partitions that ReplaceNodeSubsetsWithDelegateKernels would make; the context keeps them until the next call.
  TfLiteStatus (*PreviewDelegatePartitioning)(TfLiteContext* context, const TfLiteIntArray* nodes_to_replace,
                                              TfLiteDelegateParams** partitions, int* num_partitions);
};

struct TfLiteDelegate {
  void* data_;
  TfLiteStatus (*Prepare)(TfLiteContext* context, TfLiteDelegate* delegate);
  TfLiteStatus (*CopyFromBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate, int handle,
                                       TfLiteTensor* tensor);
  TfLiteStatus (*CopyToBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate, int handle,
                                     TfLiteTensor* tensor);
  void (*FreeBufferHandle)(TfLiteContext* context, TfLiteDelegate* delegate, int* handle);
  int64_t flags;
  void* opaque_delegate_builder;
};

// From malloc, as the runtime frees what it is given; null if memory is short.
inline TfLiteIntArray* new_int_array(int size, const int* values) {
  const auto bytes = sizeof(TfLiteIntArray) + sizeof(int) * static_cast<size_t>(size);
  auto* array = static_cast<TfLiteIntArray*>(std::malloc(bytes));
  if (array == nullptr) return nullptr;
  array->size = size;
  if (size > 0) std::memcpy(array->data, values, sizeof(int) * static_cast<size_t>(size));
  return array;
}

#if UINTPTR_MAX == UINT64_MAX
#define NQ_ASSERT_OFFSET(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "::" #field)
NQ_ASSERT_OFFSET(TfLiteTensor, data, 8);
NQ_ASSERT_OFFSET(TfLiteTensor, dims, 16);
NQ_ASSERT_OFFSET(TfLiteTensor, params, 24);
NQ_ASSERT_OFFSET(TfLiteTensor, allocation_type, 32);
NQ_ASSERT_OFFSET(TfLiteTensor, bytes, 40);
NQ_ASSERT_OFFSET(TfLiteTensor, allocation, 48);
NQ_ASSERT_OFFSET(TfLiteTensor, quantization, 80);
NQ_ASSERT_OFFSET(TfLiteTensor, dims_signature, 104);
static_assert(sizeof(TfLiteTensor) == 112, "TfLiteTensor");
NQ_ASSERT_OFFSET(TfLiteNode, user_data, 32);
NQ_ASSERT_OFFSET(TfLiteNode, custom_initial_data, 48);
NQ_ASSERT_OFFSET(TfLiteNode, delegate, 64);
static_assert(sizeof(TfLiteNode) == 80, "TfLiteNode");
NQ_ASSERT_OFFSET(TfLiteRegistration, builtin_code, 40);
NQ_ASSERT_OFFSET(TfLiteRegistration, custom_name, 48);
NQ_ASSERT_OFFSET(TfLiteRegistration, version, 56);
NQ_ASSERT_OFFSET(TfLiteRegistration, registration_external, 64);
NQ_ASSERT_OFFSET(TfLiteRegistration, inplace_operator, 80);
NQ_ASSERT_OFFSET(TfLiteContext, GetNodeAndRegistration, 56);
NQ_ASSERT_OFFSET(TfLiteContext, ReplaceNodeSubsetsWithDelegateKernels, 64);
NQ_ASSERT_OFFSET(TfLiteContext, recommended_num_threads, 72);
NQ_ASSERT_OFFSET(TfLiteContext, AllocateBufferForEval, 120);
NQ_ASSERT_OFFSET(TfLiteContext, PreviewDelegatePartitioning, 152);
NQ_ASSERT_OFFSET(TfLiteDelegate, flags, 40);
NQ_ASSERT_OFFSET(TfLiteDelegate, opaque_delegate_builder, 48);
#undef NQ_ASSERT_OFFSET
#endif
