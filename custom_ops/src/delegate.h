// The TFLite delegate: claims every NQ_UNPACK_DEQUANT operator.
#pragma once

#include "status.h"
#include "tflite_abi.h"

namespace nq {

// `keys` and `values` are the options of nq.h, `num_options` of them.
Status create_delegate(const char* const* keys, const char* const* values, size_t num_options,
                       TfLiteDelegate** delegate);
void destroy_delegate(TfLiteDelegate* delegate);

}  // namespace nq
