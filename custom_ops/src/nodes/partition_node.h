// The kernel of a partition: nested weights with the operators that read them, and the operators between, run one after
// the other on the delegate's own threads and arena.
#pragma once

#include "tflite_abi.h"

namespace nq {

TfLiteRegistration partition_node_registration();

}  // namespace nq
