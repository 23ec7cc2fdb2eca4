// The delegate option "precision": "full", "part" or a number of bits that the model's section table offers.
#pragma once

#include "format/section_table.h"
#include "status.h"

namespace nq {

struct Precision {
  enum class Kind { kFull, kPart, kBits };
  Kind kind = Kind::kFull;
  int bits = 0;
};

Status parse_precision(const char* text, Precision* precision);
Status find_level(const Precision& precision, const SectionTable& table, int* level);

}  // namespace nq
