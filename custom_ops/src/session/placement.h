// Where a model's sections lie in memory, once all of its weights have been checked against the section table and each
// other (FORMAT.md, section 7, rules 1, 2, 5 and 7).
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "format/section_table.h"
#include "paging/file_mapping.h"
#include "paging/mapped_file.h"
#include "paging/pages.h"
#include "session/nested_weight.h"
#include "status.h"

namespace nq {

struct PlacedSection {
  const uint8_t* data = nullptr;
  PageRange pages;  // empty where the model is not pageable
};

struct Placement {
  SectionTable table;
  std::array<PlacedSection, kMaxLevels> sections;
  PageRange graph;                     // pages of the model before its sections; empty where it is not pageable
  std::optional<FileMapping> mapping;  // none: not pageable
  MappedFile file;                     // of the mapping
  int num_weights = 0;                 // distinct ones: signatures may share

  int num_levels() const { return table.num_sections; }
  bool pageable() const { return mapping.has_value(); }
  // Where the file must reach to, if it is pageable.
  uint64_t end_in_file() const;
};

// `weights` is not empty.
Status place(const std::vector<const NestedWeight*>& weights, Placement* placement);

}  // namespace nq
