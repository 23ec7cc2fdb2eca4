// A fuzzed input as a list of edits of something valid, so that mutations get beyond checksums and verifiers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nq_fuzz {

// A little-endian number in place: 1, 2, 4 or 8 bytes.
struct Site {
  uint8_t* at;
  uint8_t width;
};

using Sites = std::vector<Site>;

constexpr size_t kEditBytes = 8;

// Applies the edits that the bytes spell, 8 bytes each:
//
//   u8 group, u8 operation, u16 index of the site in its group, u32 operand
//
// What is left at the end is ignored, as are edits of empty groups. Gives the groups that were edited, one bit each.
uint64_t apply_edits(const uint8_t* data, size_t size, const std::vector<Sites>& groups);

}  // namespace nq_fuzz
