#include "session/placement.h"

#include <algorithm>

namespace nq {
namespace {

using Printable = unsigned long long;

struct Buffer {
  uint64_t offset, size;  // in the section
  const uint8_t* data;
  const NestedWeight* weight;

  bool operator<(const Buffer& other) const {
    return offset != other.offset ? offset < other.offset : size < other.size;
  }
  bool same_extent(const Buffer& other) const { return offset == other.offset && size == other.size; }
};

Status check_agreement(const NestedWeight& first, const NestedWeight& weight, const SectionTable& table) {
  if (weight.table.size != first.table.size ||
      std::memcmp(weight.table.data, first.table.data, first.table.size) != 0) {
    return invalid_model("its section table is another one; expected that of '%s'", first.name.c_str());
  }
  if (weight.block.num_levels != table.num_sections) {
    return invalid_model("it has %d levels; expected one for each of the table's %d sections", weight.block.num_levels,
                         table.num_sections);
  }
  if (weight.allocation != first.allocation) {
    return invalid_model("its levels are in another file; expected that of '%s'", first.name.c_str());
  }
  return {};
}

std::vector<Buffer> buffers_of_level(const std::vector<const NestedWeight*>& weights, int level) {
  std::vector<Buffer> buffers;
  for (const NestedWeight* weight : weights) {
    const ByteSpan bytes = weight->levels[level];
    buffers.push_back({weight->block.levels[level].offset, bytes.size, bytes.data, weight});
  }
  std::sort(buffers.begin(), buffers.end());
  return buffers;
}

// Where the section starts if the buffer stands where the option block says. Not a pointer: nothing vouches for it yet.
uintptr_t section_address(const Buffer& buffer) {
  return reinterpret_cast<uintptr_t>(buffer.data) - static_cast<uintptr_t>(buffer.offset);
}

Status check_buffer(const Buffer& buffer, const Buffer* before, const Section& section, uintptr_t address) {
  if (buffer.offset > section.size || buffer.size > section.size - buffer.offset) {
    return invalid_model("it fills bytes %llu to %llu; expected them inside its section of %llu bytes",
                         Printable{buffer.offset}, Printable{buffer.offset} + buffer.size, Printable{section.size});
  }
  if (section_address(buffer) != address) {
    return invalid_model("its tensor lies elsewhere; expected byte %llu of its section", Printable{buffer.offset});
  }
  if (before == nullptr || buffer.same_extent(*before) || buffer.offset >= before->offset + before->size) return {};
  return invalid_model("it starts at byte %llu of its section; expected it after '%s', which ends at byte %llu",
                       Printable{buffer.offset}, before->weight->name.c_str(),
                       Printable{before->offset} + before->size);
}

std::string place_name(const NestedWeight& weight, int level) {
  return "weight '" + weight.name + "', level " + std::to_string(level);
}

// After this, every byte of the section lies between two buffers of one allocation: it may be read.
Status check_section(const std::vector<Buffer>& buffers, const Section& section, int level) {
  const uintptr_t address = section_address(buffers.front());
  const Buffer* before = nullptr;
  for (const Buffer& buffer : buffers) {
    const Status status = check_buffer(buffer, before, section, address);
    if (!status.ok()) return status.at(place_name(*buffer.weight, level));
    before = &buffer;
  }
  const Buffer& first = buffers.front();
  const Buffer& last = buffers.back();
  if (first.offset != 0 || last.offset + last.size != section.size) {
    return invalid_model("section %d has %llu bytes, its buffers fill %llu to %llu; expected all of it", level,
                         Printable{section.size}, Printable{first.offset}, Printable{last.offset} + last.size);
  }
  return {};
}

int count_distinct(const std::vector<Buffer>& buffers) {
  const auto same = [](const Buffer& a, const Buffer& b) { return a.same_extent(b); };
  auto sorted = buffers;
  return static_cast<int>(std::unique(sorted.begin(), sorted.end(), same) - sorted.begin());
}

Status place_sections(const std::vector<const NestedWeight*>& weights, Placement* placement) {
  const SectionTable& table = placement->table;
  for (int level = 0; level < table.num_sections; ++level) {
    const std::vector<Buffer> buffers = buffers_of_level(weights, level);
    if (Status status = check_section(buffers, table.sections[level], level); !status.ok()) return status;
    const uint8_t* data = buffers.front().data;
    placement->sections[level].data = data;
    if (level == 0) placement->num_weights = count_distinct(buffers);
    const auto in_memory = reinterpret_cast<uintptr_t>(data) - reinterpret_cast<uintptr_t>(placement->sections[0].data);
    if (in_memory != static_cast<uintptr_t>(table.sections[level].offset - table.sections[0].offset)) {
      return invalid_model("section %d lies elsewhere; expected byte %llu of the file", level,
                           Printable{table.sections[level].offset});
    }
  }
  return {};
}

void find_pages(Placement* placement) {
  const int last = placement->num_levels() - 1;
  const uint8_t* start = placement->sections[0].data;
  const uint8_t* end = placement->sections[last].data + placement->table.sections[last].size;
  placement->mapping = find_file_mapping(start, static_cast<size_t>(end - start));
  if (!placement->mapping) return;
  placement->file = MappedFile(*placement->mapping);
  const auto sections = reinterpret_cast<uintptr_t>(start);
  const auto before = static_cast<uintptr_t>(std::min<uint64_t>(placement->table.sections[0].offset, sections));
  placement->graph = pages_between(*placement->mapping, sections - before, sections);
  for (int level = 0; level <= last; ++level) {
    PlacedSection& section = placement->sections[level];
    section.pages = section_pages(*placement->mapping, section.data, placement->table.sections[level].size);
  }
}

}  // namespace

uint64_t Placement::end_in_file() const {
  const int last = num_levels() - 1;
  const auto end = reinterpret_cast<uintptr_t>(sections[last].data) + static_cast<uintptr_t>(table.sections[last].size);
  return mapping->offset + (end - mapping->start);
}

Status place(const std::vector<const NestedWeight*>& weights, Placement* placement) {
  const NestedWeight& first = *weights.front();
  if (Status status = parse_section_table(first.table, &placement->table); !status.ok()) return status;
  for (const NestedWeight* weight : weights) {
    const Status status = check_agreement(first, *weight, placement->table);
    if (!status.ok()) return status.at("weight '" + weight->name + "'");
  }
  if (Status status = place_sections(weights, placement); !status.ok()) return status;
  find_pages(placement);
  return {};
}

}  // namespace nq
