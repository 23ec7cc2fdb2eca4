// A partition's steps made fewer: what one operator does is left to the only one that reads its result.
#pragma once

#include <memory>
#include <unordered_set>
#include <vector>

#include "operators/operator.h"

namespace nq {

// A PAD that only a convolution reads is left to the convolution, which needs no padded copy. `outputs`: the tensors
// that others than the steps read.
void absorb_paddings(const std::unordered_set<int>& outputs, Steps* steps);

// A table and the only operator that reads its result, a function of the same codes, become one table.
void fold_tables(const std::unordered_set<int>& outputs, Steps* steps);

// Transpositions of what is multiplied, and of the product, are left to the product of matrices, and two products with
// a softmax between them, and maybe a factor and an addend before it, become one operator.
void fuse_attention(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// A product of x and its logistic function becomes a function itself, and functions of a layer's floats are left to the
// layer, which has them in its cache.
void fuse_functions(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// What normalizes the rows of a tensor by their mean and variance becomes one operator.
void fuse_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// The same of what divides them by the root of their mean square.
void fuse_rms_normalizations(const std::unordered_set<int>& outputs, const Kernels& kernels, Steps* steps);

// Dense layers of floats that read one tensor, one after the other, quantize it once.
void share_quantization(Steps* steps);

// Layers that quantize what a layer of floats before them writes are told its range by that one.
void share_ranges(Steps* steps);

}  // namespace nq
