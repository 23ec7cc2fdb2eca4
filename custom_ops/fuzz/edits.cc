#include "edits.h"

#include <cstring>

namespace nq_fuzz {
namespace {

// Limits of integers, and as floats of 4 bytes: ones, infinities, NaN, the smallest and the greatest.
constexpr uint64_t kInteresting[] = {
    0,
    1,
    2,
    3,
    7,
    8,
    16,
    64,
    127,
    128,
    255,
    256,
    4096,
    16384,
    32767,
    65535,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    0x100000000,
    0x7FFFFFFFFFFFFFFF,
    0x8000000000000000,
    0xFFFFFFFFFFFFFFFF,
    0xFFFFFFFFFFFFFFC0,
    0xFFFFFFFFFFFFC000,
    0x3F800000,
    0xBF800000,
    0x7F800000,
    0xFF800000,
    0x7FC00000,
    0x00000001,
    0x7F7FFFFF,
};

enum Operation { kSet, kAdd, kFlip, kInterestingValue, kCopy, kOperations };

uint64_t read(const Site& site) {
  uint64_t value = 0;
  std::memcpy(&value, site.at, site.width);
  return value;
}

uint64_t changed(const Sites& sites, const Site& site, int operation, uint32_t operand) {
  const uint64_t value = read(site);
  switch (operation) {
    case kSet:
      return operand;
    case kAdd:
      return value + static_cast<uint64_t>(int64_t{static_cast<int32_t>(operand)});
    case kFlip:
      return value ^ (uint64_t{1} << operand % (8 * site.width));
    case kInterestingValue:
      return kInteresting[operand % std::size(kInteresting)];
    default:
      return read(sites[operand % sites.size()]);
  }
}

}  // namespace

uint64_t apply_edits(const uint8_t* data, size_t size, const std::vector<Sites>& groups) {
  uint64_t edited = 0;
  for (; size >= kEditBytes; data += kEditBytes, size -= kEditBytes) {
    const size_t group = data[0] % groups.size();
    const Sites& sites = groups[group];
    if (sites.empty()) continue;
    uint16_t index;
    uint32_t operand;
    std::memcpy(&index, data + 2, sizeof(index));
    std::memcpy(&operand, data + 4, sizeof(operand));
    const Site& site = sites[index % sites.size()];
    const uint64_t value = changed(sites, site, data[1] % kOperations, operand);
    std::memcpy(site.at, &value, site.width);
    edited |= uint64_t{1} << group;
  }
  return edited;
}

}  // namespace nq_fuzz
