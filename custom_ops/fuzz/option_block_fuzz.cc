// The option block, from any bytes.
#include "expect.h"
#include "format/option_block.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  nq::OptionBlock block;
  if (!nq::parse_option_block({data, size}, &block).ok()) return 0;
  // What readers of a block rely on.
  EXPECT(block.num_levels >= nq::kMinLevels && block.num_levels <= nq::kMaxLevels);
  EXPECT(nq::used_bits(block, block.num_levels - 1) == block.full_bits && block.full_bits <= nq::kMaxFullBits);
  EXPECT(block.channels > 0 && block.depth > 0 && uint64_t{block.channels} * block.depth < uint64_t{1} << 31);
  for (int level = 0; level < block.num_levels; ++level) {
    const uint64_t packed = nq::packed_bytes(block, level), bytes = nq::level_bytes(block, level);
    EXPECT(packed > 0 && packed % nq::kLineBytes == 0 && bytes >= packed && bytes < uint64_t{1} << 40);
    EXPECT(block.has_bias || bytes == packed);
  }
  return 0;
}
