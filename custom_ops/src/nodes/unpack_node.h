// The kernel of one NQ_UNPACK_DEQUANT operator: writes its weight, and its bias where it has one, at every invocation.
#pragma once

#include "tflite_abi.h"

namespace nq {

TfLiteRegistration unpack_node_registration();

}  // namespace nq
