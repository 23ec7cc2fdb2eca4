// Reads of a TFLite flatbuffer that nobody may have verified: what would lie outside its bytes is absent.
#pragma once

#include <cstdint>
#include <optional>

#include "format/bytes.h"

namespace nq {

class FlatbufferVector;

class FlatbufferTable {
 public:
  FlatbufferTable(ByteSpan file, uint64_t position) : file_(file), position_(position) {}

  // A field by its number in the schema. Without one, the schema's default: 0, or nothing.
  uint64_t u32(int field) const { return scalar<uint32_t>(field); }
  uint64_t u64(int field) const { return scalar<uint64_t>(field); }
  // Of tables, all of whose places are in the file.
  std::optional<FlatbufferVector> vector(int field) const;
  // Of strings too: the first character.
  const uint8_t* vector_data(int field) const;

 private:
  template <typename T>
  uint64_t scalar(int field) const;
  std::optional<uint64_t> field_position(int field) const;
  std::optional<uint64_t> referred(int field) const;

  ByteSpan file_;
  uint64_t position_;
};

class FlatbufferVector {
 public:
  FlatbufferVector(ByteSpan file, uint64_t position, uint32_t size) : file_(file), position_(position), size_(size) {}

  uint32_t size() const { return size_; }
  std::optional<FlatbufferTable> table(uint64_t index) const;

 private:
  ByteSpan file_;
  uint64_t position_;  // of its first element
  uint32_t size_;
};

// The root table of a file with TFLite's identifier.
std::optional<FlatbufferTable> flatbuffer_root(ByteSpan file);

}  // namespace nq
