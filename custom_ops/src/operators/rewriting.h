// A partition's steps made fewer: what one operator does is left to the only one that reads its result.
#pragma once

#include <memory>
#include <unordered_set>
#include <vector>

#include "operators/operator.h"

namespace nq {

using Steps = std::vector<std::unique_ptr<Operator>>;

// A PAD that only a convolution reads is left to the convolution, which needs no padded copy. `outputs`: the tensors
// that others than the steps read.
void absorb_paddings(const std::unordered_set<int>& outputs, Steps* steps);

// A table and the only operator that reads its result, a function of the same codes, become one table.
void fold_tables(const std::unordered_set<int>& outputs, Steps* steps);

}  // namespace nq
