// Constants and fixed structures of the nested file format; nq_tflite/FORMAT.md is the specification.
// tests/format/test_format.py compares this file, nq_tflite/format/constants.py and the page.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nq {

inline constexpr char kCustomOpName[] = "NQ_UNPACK_DEQUANT";
inline constexpr int kCustomOpVersion = 1;

inline constexpr uint16_t kFormatMajor = 1;
inline constexpr uint16_t kFormatMinor = 1;
inline constexpr uint16_t kGroupsMinor = 1;  // minor version of a block with group scales; 0 without

inline constexpr uint64_t kSectionAlignment = 16384;
inline constexpr uint64_t kBufferAlignment = 64;

inline constexpr uint8_t kOptionMagic[4] = {'N', 'Q', 'O', 'P'};
inline constexpr uint8_t kTableMagic[4] = {'N', 'Q', 'S', 'T'};

inline constexpr uint32_t kOptionHeaderBytes = 32;
inline constexpr uint32_t kOptionLevelBytes = 16;
inline constexpr uint32_t kTableHeaderBytes = 16;
inline constexpr uint32_t kTableSectionBytes = 24;
inline constexpr uint32_t kTableChecksumBytes = 4;

inline constexpr uint32_t kFlagBias = 1u << 0;
inline constexpr uint32_t kFlagGroups = 1u << 1;
inline constexpr uint32_t kFlagStart = 1u << 16;
inline constexpr uint32_t kCriticalFlags = 0xFFFFu;

inline constexpr uint32_t kGroupSizes[] = {32, 64, 128};  // depth indices that may share a scale

inline constexpr int kMinLevels = 2;
inline constexpr int kMaxLevels = 7;
inline constexpr int kMinFullBits = 3;
inline constexpr int kMaxFullBits = 8;
inline constexpr int kMinBaseBits = 2;

enum class Layout : uint8_t { kMatrix = 1, kDepthwise = 2 };
enum class OutputType : uint8_t { kFloat32 = 0, kInt8 = 9 };

inline constexpr int kLineBytes = 64;  // a line of a level, a block of codes
inline constexpr int kBlocksPerSuperblock = 8;
inline constexpr int kSuperblockWeights = 512;
inline constexpr int kMatrixChannels = 16;     // channels of a matrix superblock
inline constexpr int kMatrixDepth = 32;        // depth indices of a matrix superblock
inline constexpr int kDepthPerBlock = 4;       // depth indices of a matrix block
inline constexpr int kDepthwiseChannels = 64;  // channels of a depthwise block

}  // namespace nq
