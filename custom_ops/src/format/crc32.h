// CRC-32/ISO-HDLC, the checksum of zlib, PNG and gzip.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nq {

uint32_t crc32(const uint8_t* bytes, size_t size);

}  // namespace nq
