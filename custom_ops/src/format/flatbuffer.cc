#include "format/flatbuffer.h"

namespace nq {
namespace {

constexpr char kIdentifier[] = "TFL3";
constexpr uint64_t kIdentifierPosition = 4;

template <typename T>
std::optional<T> read(ByteSpan file, uint64_t position) {
  if (file.size < sizeof(T) || position > file.size - sizeof(T)) return std::nullopt;
  return load<T>(file.data + position);
}

// What an offset that stands at `position` refers to.
std::optional<uint64_t> follow(ByteSpan file, uint64_t position) {
  const auto distance = read<uint32_t>(file, position);
  if (!distance || *distance == 0) return std::nullopt;
  return position + *distance;
}

}  // namespace

// A table starts with the distance back to its vtable: its own bytes, the table's, then each field's place in the
// table.
std::optional<uint64_t> FlatbufferTable::field_position(int field) const {
  const auto back = read<int32_t>(file_, position_);
  if (!back) return std::nullopt;
  const uint64_t vtable = position_ - static_cast<uint64_t>(int64_t{*back});
  const uint64_t entry = 4 + 2 * static_cast<uint64_t>(field);
  const auto vtable_bytes = read<uint16_t>(file_, vtable);
  if (!vtable_bytes || entry + 2 > *vtable_bytes) return std::nullopt;
  const auto place = read<uint16_t>(file_, vtable + entry);
  if (!place || *place == 0) return std::nullopt;
  return position_ + *place;
}

template <typename T>
uint64_t FlatbufferTable::scalar(int field) const {
  const auto position = field_position(field);
  return position ? read<T>(file_, *position).value_or(0) : 0;
}
template uint64_t FlatbufferTable::scalar<uint32_t>(int field) const;
template uint64_t FlatbufferTable::scalar<uint64_t>(int field) const;

std::optional<uint64_t> FlatbufferTable::referred(int field) const {
  const auto position = field_position(field);
  return position ? follow(file_, *position) : std::nullopt;
}

std::optional<FlatbufferVector> FlatbufferTable::vector(int field) const {
  const auto position = referred(field);
  const auto size = position ? read<uint32_t>(file_, *position) : std::nullopt;
  // A vector that claims more than the file holds would have its reader count to billions.
  if (!size || *size > (file_.size - *position - sizeof(uint32_t)) / sizeof(uint32_t)) return std::nullopt;
  return FlatbufferVector(file_, *position + sizeof(uint32_t), *size);
}

const uint8_t* FlatbufferTable::vector_data(int field) const {
  const auto position = referred(field);
  return position && *position + sizeof(uint32_t) <= file_.size ? file_.data + *position + sizeof(uint32_t) : nullptr;
}

std::optional<FlatbufferTable> FlatbufferVector::table(uint64_t index) const {
  if (index >= size_) return std::nullopt;
  const auto position = follow(file_, position_ + index * sizeof(uint32_t));
  if (!position) return std::nullopt;
  return FlatbufferTable(file_, *position);
}

std::optional<FlatbufferTable> flatbuffer_root(ByteSpan file) {
  const auto identifier = read<uint32_t>(file, kIdentifierPosition);
  if (!identifier || std::memcmp(file.data + kIdentifierPosition, kIdentifier, sizeof(*identifier)) != 0) {
    return std::nullopt;
  }
  const auto position = follow(file, 0);
  if (!position) return std::nullopt;
  return FlatbufferTable(file, *position);
}

}  // namespace nq
