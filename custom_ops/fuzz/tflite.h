// TFLite's C library, opened at run time: $NQ_TFLITE_C is its path.
#pragma once

#include <cstdarg>
#include <cstddef>
#include <cstdint>

struct TfLiteDelegate;
struct TfLiteTensor;

namespace nq_fuzz {

struct TfLiteModel;
struct TfLiteInterpreter;
struct TfLiteInterpreterOptions;

#define NQ_TFLITE_FUNCTIONS(F)                                                                                       \
  F(TfLiteModel*, ModelCreateFromFileWithErrorReporter, (const char*, void (*)(void*, const char*, va_list), void*)) \
  F(void, ModelDelete, (TfLiteModel*))                                                                               \
  F(TfLiteInterpreterOptions*, InterpreterOptionsCreate, (void))                                                     \
  F(void, InterpreterOptionsDelete, (TfLiteInterpreterOptions*))                                                     \
  F(void, InterpreterOptionsSetNumThreads, (TfLiteInterpreterOptions*, int32_t))                                     \
  F(void, InterpreterOptionsAddDelegate, (TfLiteInterpreterOptions*, TfLiteDelegate*))                               \
  F(void, InterpreterOptionsSetErrorReporter,                                                                        \
    (TfLiteInterpreterOptions*, void (*)(void*, const char*, va_list), void*))                                       \
  F(TfLiteInterpreter*, InterpreterCreate, (const TfLiteModel*, TfLiteInterpreterOptions*))                          \
  F(void, InterpreterDelete, (TfLiteInterpreter*))                                                                   \
  F(int, InterpreterAllocateTensors, (TfLiteInterpreter*))                                                           \
  F(int, InterpreterInvoke, (TfLiteInterpreter*))                                                                    \
  F(int, InterpreterResizeInputTensor, (TfLiteInterpreter*, int32_t, const int*, int32_t))                           \
  F(int32_t, InterpreterGetInputTensorCount, (const TfLiteInterpreter*))                                             \
  F(TfLiteTensor*, InterpreterGetInputTensor, (const TfLiteInterpreter*, int32_t))                                   \
  F(int32_t, InterpreterGetOutputTensorCount, (const TfLiteInterpreter*))                                            \
  F(const TfLiteTensor*, InterpreterGetOutputTensor, (const TfLiteInterpreter*, int32_t))                            \
  F(void*, TensorData, (const TfLiteTensor*))                                                                        \
  F(size_t, TensorByteSize, (const TfLiteTensor*))

struct TfLite {
#define NQ_DECLARE(type, name, arguments) type(*name) arguments;
  NQ_TFLITE_FUNCTIONS(NQ_DECLARE)
#undef NQ_DECLARE
};

// Ends the process with the reason where there is none.
const TfLite& tflite();

}  // namespace nq_fuzz
