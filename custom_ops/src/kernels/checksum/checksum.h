// CRC-32 of a section of the file, which every first upgrade checks.
//
// ISA "scalar" is the specification, format/crc32.h; every other kernel gives the same checksum. checksum_kernels.h
// lists them all.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_list.h"

namespace nq {

struct ChecksumKernel {
  const char* isa = nullptr;
  bool (*supported)() = nullptr;  // by the CPU that runs this
  uint32_t (*crc32)(const uint8_t* bytes, size_t size) = nullptr;
};

}  // namespace nq
