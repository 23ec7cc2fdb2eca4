// For runtimes that hide the levels: TFLite's C library up to 2.17, LiteRT's up to 2.0. They build an interpreter
// without its model's allocation, and tensors whose Buffer has an offset into the file then stay without data, as if
// they were to be computed.
#pragma once

#include "status.h"
#include "tflite_abi.h"

namespace nq {

// Gives the level tensors of nested operators the data that such a runtime has not, out of the file mapping that holds
// their names: constants of the Buffer's offset and size, inside the file. Changes nothing where they have data. What
// the bytes are worth is checked where those of every runtime are, by session/placement.h.
Status show_hidden_levels(TfLiteContext* context);

}  // namespace nq
