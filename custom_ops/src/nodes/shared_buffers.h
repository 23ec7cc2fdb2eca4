// Runtimes let an operator write over its input where nobody else reads it. Their planner looks at one tensor's readers
// and forgets those of other tensors in the same memory: RESHAPE gives its input another name, whose only reader
// overwrites what the input's next reader needs (google-ai-edge/LiteRT#8889, #8928; TFLite since 2.13).
#pragma once

#include "tflite_abi.h"

namespace nq {

// Has such a RESHAPE copy, as runtimes without that planner do. To be called when the claims are made, for the tensors
// of claimed operators have memory of their own. False if the runtime does not give its plan.
bool keep_buffers_apart(TfLiteContext* context);

}  // namespace nq
