// CRC-32/ISO-HDLC, the checksum of zlib, PNG and gzip.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nq {

uint32_t crc32(const uint8_t* bytes, size_t size);

// The state of a checksum after more bytes. It starts with ones, and its inverse is the checksum.
uint32_t update_crc32(uint32_t state, const uint8_t* bytes, size_t size);

}  // namespace nq
