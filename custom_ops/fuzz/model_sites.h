// Where the numbers of a nested file stand that a delegate reads, itself or through its runtime.
#pragma once

#include <cstdint>
#include <vector>

#include "edits.h"

namespace nq_fuzz {

// What only this library reads comes first: up to kBuffers, stock operators see what they always saw.
enum ModelGroup {
  kOptionBlocks,   // each field of each
  kSectionTable,   // likewise
  kLevels,         // bytes
  kBuffers,        // offset and size of those outside the root
  kShapes,         // of tensors, and their ranks
  kTensors,        // types and buffers
  kQuantization,   // scales, zero points, axes, and how many
  kOperands,       // inputs and outputs of operators and graphs, and how many
  kOperatorCodes,  // and which operator has which
  kParameters,     // builtin options
  kConstants,      // words of inline buffers
  kRoot,           // any byte of the flatbuffer's root
  kModelGroups
};

constexpr uint64_t kOwnGroups = (uint64_t{1} << (kBuffers + 1)) - 1;

struct ModelSites {
  std::vector<Sites> groups;
  uint8_t* table = nullptr;  // the section table
};

// Of a whole, valid nested file, which must outlive them.
ModelSites find_sites(std::vector<uint8_t>* file);

// Whether a file that a verifier has passed has all the vectors that TFLite takes for granted.
bool is_complete(uint8_t* file);

}  // namespace nq_fuzz
