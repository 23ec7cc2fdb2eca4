#include "naive_flatbuffer.h"

#include <map>

namespace nq_test {
namespace {

void set(Bytes* bytes, size_t at, uint64_t value, int size) {
  for (int i = 0; i < size; ++i) (*bytes)[at + static_cast<size_t>(i)] = static_cast<uint8_t>(value >> 8 * i);
}

// The offset that stands at `at` refers to what is written next.
void refer(Bytes* bytes, size_t at) { set(bytes, at, bytes->size() - at, 4); }

// A table with these fields, number and bytes, all 0; gives where each stands.
std::map<int, size_t> add_table(Bytes* bytes, size_t referred_at, const std::map<int, int>& fields) {
  const int num_fields = fields.empty() ? 0 : fields.rbegin()->first + 1;
  const size_t vtable = bytes->size();
  const int vtable_bytes = 4 + 2 * num_fields;
  bytes->resize(vtable + static_cast<size_t>(vtable_bytes));
  const size_t table = bytes->size();
  refer(bytes, referred_at);
  put(bytes, static_cast<uint64_t>(vtable_bytes), 4);
  std::map<int, size_t> places;
  for (const auto& [number, size] : fields) {
    places[number] = bytes->size();
    set(bytes, vtable + 4 + 2 * static_cast<size_t>(number), bytes->size() - table, 2);
    put(bytes, 0, size);
  }
  set(bytes, vtable, static_cast<uint64_t>(vtable_bytes), 2);
  set(bytes, vtable + 2, bytes->size() - table, 2);
  return places;
}

// A vector of offsets; gives where the first of them stands.
size_t add_vector(Bytes* bytes, size_t referred_at, size_t size) {
  refer(bytes, referred_at);
  put(bytes, size, 4);
  const size_t first = bytes->size();
  bytes->resize(first + 4 * size);
  return first;
}

}  // namespace

Flatbuffer flatbuffer_of(const std::vector<FlatbufferTensor>& tensors, const std::vector<FlatbufferBuffer>& buffers) {
  Flatbuffer result;
  Bytes& bytes = result.bytes;
  bytes = {0, 0, 0, 0, 'T', 'F', 'L', '3'};
  const auto model = add_table(&bytes, 0, {{2, 4}, {4, 4}});  // subgraphs, buffers
  const auto subgraph = add_table(&bytes, add_vector(&bytes, model.at(2), 1), {{0, 4}});
  const size_t tensor = add_vector(&bytes, subgraph.at(0), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    const auto fields = add_table(&bytes, tensor + 4 * i, {{2, 4}, {3, 4}});  // buffer, name
    set(&bytes, fields.at(2), tensors[i].buffer, 4);
    refer(&bytes, fields.at(3));
    put(&bytes, tensors[i].name.size(), 4);
    result.names.push_back(bytes.size());
    bytes.insert(bytes.end(), tensors[i].name.begin(), tensors[i].name.end());
    bytes.push_back(0);
  }
  const size_t buffer = add_vector(&bytes, model.at(4), buffers.size());
  for (size_t i = 0; i < buffers.size(); ++i) {
    const bool outside = buffers[i].offset != 0 || buffers[i].size != 0;
    const auto fields =
        add_table(&bytes, buffer + 4 * i, outside ? std::map<int, int>{{1, 8}, {2, 8}} : std::map<int, int>{});
    if (!outside) continue;
    set(&bytes, fields.at(1), buffers[i].offset, 8);
    set(&bytes, fields.at(2), buffers[i].size, 8);
  }
  return result;
}

}  // namespace nq_test
