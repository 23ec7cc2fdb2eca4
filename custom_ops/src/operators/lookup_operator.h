// Rows of a nested weight, copied as indices say: GATHER along the first axis, and EMBEDDING_LOOKUP. Only the rows
// asked for are unpacked.
#pragma once

#include <string>

#include "operators/operator.h"

namespace nq {

bool is_lookup(const TfLiteRegistration& registration);

// Whether make_lookup can take the operator's place; false with the reason. `weight` is the nested operator's output.
bool can_look_up(const TfLiteContext& context, const TfLiteNode& node, const TfLiteRegistration& registration,
                 int weight, std::string* reason);

// The two nodes must be what can_look_up() accepts. The weight becomes a member of the environment's session, whatever
// is wrong with it.
std::unique_ptr<Operator> make_lookup(const TfLiteContext& context, const void* graph,
                                      const NodeEnvironment& environment, const TfLiteNode& nested,
                                      const TfLiteNode& reader, const TfLiteRegistration& registration);

}  // namespace nq
