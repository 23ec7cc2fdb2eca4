// As much of a TFLite model as says where its tensors' data are: one graph, its tensors by name, and the buffers.
#pragma once

#include <string>
#include <vector>

#include "naive_format.h"

namespace nq_test {

struct FlatbufferBuffer {
  uint64_t offset = 0, size = 0;  // outside the flatbuffer's root; absent where both are 0
};

struct FlatbufferTensor {
  std::string name;
  uint32_t buffer = 0;
};

struct Flatbuffer {
  Bytes bytes;
  std::vector<size_t> names;  // where each tensor's name starts
};

Flatbuffer flatbuffer_of(const std::vector<FlatbufferTensor>& tensors, const std::vector<FlatbufferBuffer>& buffers);

}  // namespace nq_test
