// What one NQ_UNPACK_DEQUANT operator says about its weight: checked by itself, not yet against the other weights.
#pragma once

#include <array>
#include <string>

#include "format/bytes.h"
#include "format/option_block.h"

namespace nq {

struct NestedWeight {
  std::string name;
  OptionBlock block;
  std::array<ByteSpan, kMaxLevels> levels;  // each of level_bytes(block, k)
  ByteSpan table;                           // untrusted
  const void* allocation = nullptr;         // the loader's allocation that holds the levels; only compared
};

}  // namespace nq
