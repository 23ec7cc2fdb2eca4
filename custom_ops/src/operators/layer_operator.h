// Convolutions and dense layers as steps: of a nested weight, together with the operator that unpacks it, or of a plain
// INT8 constant.
#pragma once

#include "operators/operator.h"

namespace nq {

// The two nodes must be what parse_reader() accepts. The weight becomes a member of the environment's session,
// whatever is wrong with it: the session says so when it is prepared.
std::unique_ptr<Operator> make_layer(const TfLiteContext& context, const void* graph,
                                     const NodeEnvironment& environment, const TfLiteNode& nested,
                                     const TfLiteNode& reader_node, const TfLiteRegistration& reader_registration);

// A layer whose weight the file has as a constant: INT8, packed in memory for the same kernels, or floats, by which it
// computes in float. Null with the reason if it stays with the runtime.
std::unique_ptr<Operator> make_plain_layer(const TfLiteContext& context, const NodeEnvironment& environment,
                                           const TfLiteNode& node, const TfLiteRegistration& registration,
                                           std::string* reason);

// Whether make_plain_layer would make one.
bool is_plain_layer(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                    std::string* reason);

}  // namespace nq
