#include "model_sites.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "format/bytes.h"
#include "nq/format.h"

namespace nq_fuzz {
namespace {

using nq::load;

// A table of a flatbuffer that is trusted, for seeds are valid.
class Table {
 public:
  explicit Table(uint8_t* at) : at_(at), vtable_(at - load<int32_t>(at)) {}

  // Null without it.
  uint8_t* field(int number) const {
    const int entry = 4 + 2 * number;
    if (entry >= load<uint16_t>(vtable_)) return nullptr;
    const auto place = load<uint16_t>(vtable_ + entry);
    return place == 0 ? nullptr : at_ + place;
  }
  uint8_t* referred(int number) const {
    uint8_t* offset = field(number);
    return offset == nullptr ? nullptr : offset + load<uint32_t>(offset);
  }
  std::vector<Table> tables(int number) const {
    std::vector<Table> all;
    uint8_t* vector = referred(number);
    for (uint32_t i = 0; vector != nullptr && i < load<uint32_t>(vector); ++i) {
      uint8_t* offset = vector + 4 + 4 * i;
      all.emplace_back(offset + load<uint32_t>(offset));
    }
    return all;
  }
  // Every field's place in the table, in order, with the table's end.
  std::vector<uint8_t*> places() const {
    std::vector<uint8_t*> all = {at_ + load<uint16_t>(vtable_ + 2)};
    for (int number = 0; 4 + 2 * number < load<uint16_t>(vtable_); ++number) {
      if (uint8_t* place = field(number)) all.push_back(place);
    }
    std::sort(all.begin(), all.end());
    return all;
  }

 private:
  uint8_t *at_, *vtable_;
};

class Finder {
 public:
  explicit Finder(std::vector<uint8_t>* file) : file_(file->data()) { sites_.groups.resize(kModelGroups); }

  ModelSites find() {
    const Table model(file_ + load<uint32_t>(file_));
    buffers_ = model.tables(4);
    codes_ = model.tables(1);
    for (const Table& code : codes_) add_code(code);
    for (const Table& metadata : model.tables(6)) add_metadata(metadata);
    for (const Table& graph : model.tables(2)) add_graph(graph);
    for (const Table& buffer : buffers_) add_buffer(buffer);
    uint64_t root_bytes = levels_start_;
    while (file_[root_bytes - 1] == 0) --root_bytes;
    for (uint64_t i = 0; i < root_bytes; ++i) add(kRoot, file_ + i, 1);
    return sites_;
  }

 private:
  void add(ModelGroup group, uint8_t* at, uint8_t width) {
    if (at != nullptr) sites_.groups[group].push_back({at, width});
  }

  // A vector's length and elements.
  void add_vector(ModelGroup group, uint8_t* vector, uint8_t width) {
    if (vector == nullptr) return;
    add(group, vector, 4);
    for (uint32_t i = 0; i < load<uint32_t>(vector); ++i) add(group, vector + 4 + i * width, width);
  }

  void add_code(const Table& code) {
    add(kOperatorCodes, code.field(0), 1);
    add(kOperatorCodes, code.field(2), 4);
    add(kOperatorCodes, code.field(3), 4);
  }

  void add_metadata(const Table& metadata) {
    uint8_t* name = metadata.referred(0);
    if (name == nullptr || std::string(reinterpret_cast<char*>(name + 4)) != "NQ_SECTIONS") return;
    uint8_t* vector = buffers_[load<uint32_t>(metadata.field(1))].referred(0);
    sites_.table = vector + 4;
    add(kSectionTable, vector, 4);
    add_fields(kSectionTable, vector + 4, {4, 2, 2, 4, 4});
    const auto num_sections = load<uint32_t>(vector + 4 + 12);
    for (uint32_t i = 0; i < num_sections; ++i) {
      add_fields(kSectionTable, vector + 4 + nq::kTableHeaderBytes + i * nq::kTableSectionBytes, {8, 8, 4, 4});
    }
  }

  void add_fields(ModelGroup group, uint8_t* at, const std::vector<uint8_t>& widths) {
    for (const uint8_t width : widths) {
      add(group, at, width);
      at += width;
    }
  }

  void add_graph(const Table& graph) {
    for (const Table& tensor : graph.tables(0)) add_tensor(tensor);
    add_vector(kOperands, graph.referred(1), 4);
    add_vector(kOperands, graph.referred(2), 4);
    for (const Table& each : graph.tables(3)) add_operator(each);
  }

  void add_tensor(const Table& tensor) {
    add_vector(kShapes, tensor.referred(0), 4);
    add_vector(kShapes, tensor.referred(7), 4);
    add(kTensors, tensor.field(1), 1);
    add(kTensors, tensor.field(2), 4);
    uint8_t* quantization = tensor.referred(4);
    if (quantization == nullptr) return;
    const Table parameters(quantization);
    add_vector(kQuantization, parameters.referred(2), 4);
    add_vector(kQuantization, parameters.referred(3), 8);
    add(kQuantization, parameters.field(6), 4);
  }

  void add_operator(const Table& each) {
    add(kOperatorCodes, each.field(0), 4);
    add_vector(kOperands, each.referred(1), 4);
    add_vector(kOperands, each.referred(2), 4);
    if (uint8_t* options = each.referred(5)) add_block(options);
    uint8_t* parameters = each.referred(4);
    if (parameters == nullptr) return;
    add(kParameters, each.field(3), 1);
    // Scalars of one byte or four, by the room that they have.
    const std::vector<uint8_t*> places = Table(parameters).places();
    for (size_t i = 0; i + 1 < places.size(); ++i) {
      const bool wide = places[i + 1] - places[i] >= 4 && (places[i] - file_) % 4 == 0;
      add(kParameters, places[i], wide ? 4 : 1);
    }
  }

  void add_block(uint8_t* options) {
    add(kOptionBlocks, options, 4);  // their length
    uint8_t* block = options + 4;
    if (std::memcmp(block, nq::kOptionMagic, sizeof(nq::kOptionMagic)) != 0) return;
    add_fields(kOptionBlocks, block, {4, 2, 2, 4, 4, 1, 1, 1, 1, 4, 4, 4});
    for (int level = 0; level < block[19]; ++level) {
      add_fields(kOptionBlocks, block + nq::kOptionHeaderBytes + nq::kOptionLevelBytes * level, {8, 1, 1, 1, 1, 4});
    }
  }

  void add_buffer(const Table& buffer) {
    if (uint8_t* data = buffer.referred(0)) {
      if (data + 4 == sites_.table) return;
      for (uint32_t i = 0; i + 4 <= load<uint32_t>(data); i += 4) add(kConstants, data + 4 + i, 4);
      return;
    }
    if (buffer.field(1) == nullptr || buffer.field(2) == nullptr) return;
    add(kBuffers, buffer.field(1), 8);
    add(kBuffers, buffer.field(2), 8);
    const auto offset = load<uint64_t>(buffer.field(1)), size = load<uint64_t>(buffer.field(2));
    levels_start_ = std::min(levels_start_, offset);
    for (uint64_t i = 0; i < size; ++i) add(kLevels, file_ + offset + i, 1);
  }

  uint8_t* file_;
  std::vector<Table> buffers_, codes_;
  uint64_t levels_start_ = UINT64_MAX;
  ModelSites sites_;
};

bool has_all(const Table& table, const std::vector<int>& fields) {
  return std::all_of(fields.begin(), fields.end(), [&](int field) { return table.referred(field) != nullptr; });
}

}  // namespace

bool is_complete(uint8_t* file) {
  const Table model(file + load<uint32_t>(file));
  if (!has_all(model, {1, 2, 4})) return false;
  for (const Table& graph : model.tables(2)) {
    if (!has_all(graph, {0, 1, 2, 3})) return false;
    for (const Table& each : graph.tables(3)) {
      if (!has_all(each, {1, 2})) return false;
    }
  }
  return true;
}

ModelSites find_sites(std::vector<uint8_t>* file) { return Finder(file).find(); }

}  // namespace nq_fuzz
