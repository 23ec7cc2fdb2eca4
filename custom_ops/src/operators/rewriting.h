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

// Transpositions of what is multiplied, and of the product, are left to the product of matrices, and two products with
// a softmax between them, and maybe a factor and a constant before it, become one operator.
void fuse_attention(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// What normalizes the rows of a tensor by their mean and variance becomes one operator.
void fuse_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// Dense layers of floats that read one tensor, one after the other, quantize it once.
void share_quantization(Steps* steps);

}  // namespace nq
