#include "format/crc32.h"

#include <array>

#include "format/bytes.h"

namespace nq {
namespace {

constexpr uint32_t kPolynomial = 0xEDB88320u;  // reflected
constexpr size_t kSlices = 8;

using Table = std::array<uint32_t, 256>;

// tables[s][b] is the effect of byte b on the checksum after s further zero bytes.
constexpr std::array<Table, kSlices> make_tables() {
  std::array<Table, kSlices> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? kPolynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t slice = 1; slice < kSlices; ++slice) {
    for (size_t byte = 0; byte < 256; ++byte) {
      const uint32_t crc = tables[slice - 1][byte];
      tables[slice][byte] = crc >> 8 ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}

constexpr std::array<Table, kSlices> kTables = make_tables();

uint32_t update_by_8(uint32_t crc, const uint8_t* bytes) {
  const uint32_t low = load<uint32_t>(bytes) ^ crc;
  const uint32_t high = load<uint32_t>(bytes + 4);
  return kTables[7][low & 0xFF] ^ kTables[6][low >> 8 & 0xFF] ^ kTables[5][low >> 16 & 0xFF] ^ kTables[4][low >> 24] ^
         kTables[3][high & 0xFF] ^ kTables[2][high >> 8 & 0xFF] ^ kTables[1][high >> 16 & 0xFF] ^
         kTables[0][high >> 24];
}

}  // namespace

uint32_t update_crc32(uint32_t state, const uint8_t* bytes, size_t size) {
  for (; size >= kSlices; bytes += kSlices, size -= kSlices) state = update_by_8(state, bytes);
  for (; size > 0; ++bytes, --size) state = state >> 8 ^ kTables[0][(state ^ *bytes) & 0xFF];
  return state;
}

uint32_t crc32(const uint8_t* bytes, size_t size) { return ~update_crc32(0xFFFFFFFFu, bytes, size); }

}  // namespace nq
