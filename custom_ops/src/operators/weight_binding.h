// From an NQ_UNPACK_DEQUANT operator to its weight and the indices of its tensors (FORMAT.md, sections 2 and 7, rules 3
// and 4).
#pragma once

#include "session/nested_weight.h"
#include "status.h"
#include "tflite_abi.h"

namespace nq {

// Tensor indices in the runtime's context; -1 where the operator has no such tensor.
struct TensorIndices {
  int weight = -1;
  int scale = -1;
  int group_scale = -1;
  int bias_in = -1;
  int bias_out = -1;
};

// On failure the weight has a name still, if the operator gives it one.
Status bind_weight(const TfLiteContext& context, const TfLiteNode& node, NestedWeight* weight, TensorIndices* tensors);

// Per-channel or per-tensor scales of an INT8 weight, as FORMAT.md section 2 has them.
Status check_int8_scales(const TfLiteTensor& tensor, const OptionBlock& block);

}  // namespace nq
