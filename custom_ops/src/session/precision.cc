#include "session/precision.h"

#include <cstring>

namespace nq {

Status parse_precision(const char* text, Precision* precision) {
  if (std::strcmp(text, "full") == 0) {
    *precision = {Precision::Kind::kFull, 0};
  } else if (std::strcmp(text, "part") == 0) {
    *precision = {Precision::Kind::kPart, 0};
  } else if (text[0] >= '1' && text[0] <= '0' + kMaxFullBits && text[1] == '\0') {
    *precision = {Precision::Kind::kBits, text[0] - '0'};
  } else {
    return error(NQ_INVALID_ARGUMENT, "option precision=%s; expected full, part or a number of bits up to %d", text,
                 kMaxFullBits);
  }
  return {};
}

Status find_level(const Precision& precision, const SectionTable& table, int* level) {
  std::string offered;
  for (int k = 0; k < table.num_sections; ++k) {
    const int bits = table.sections[k].bits;
    offered += (k == 0 ? "[" : ", ") + std::to_string(bits);
    if (precision.kind == Precision::Kind::kBits && precision.bits == bits) {
      *level = k;
      return {};
    }
  }
  if (precision.kind == Precision::Kind::kBits) {
    return error(NQ_INVALID_ARGUMENT, "option precision=%d; expected full, part or a bit-width of the model, %s]",
                 precision.bits, offered.c_str());
  }
  *level = precision.kind == Precision::Kind::kFull ? table.num_sections - 1 : 0;
  return {};
}

}  // namespace nq
