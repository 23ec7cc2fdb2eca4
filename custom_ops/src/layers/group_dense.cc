#include "layers/group_dense.h"

#include <algorithm>

#include "kernels/unpack/weight.h"

namespace nq {
namespace {

constexpr int64_t kBytesTogether = 1 << 18;  // of codes of rows: they stay in the L2 cache while channels go by
constexpr int64_t kPartsAThread = 4;         // of a single row's channels, for threads that the system holds up
constexpr int64_t kMinPartBytes = 1 << 14;   // of a part's packed weights: fewer take less time than a thread's start

}  // namespace

GroupDense::GroupDense(const GroupKernel& kernel, const QuantizeKernel& quantize, const NestedWeight& weight,
                       const FloatParameters& parameters, const uint8_t* group_scales)
    : kernel_(kernel),
      quantize_(quantize),
      weight_(weight),
      parameters_(parameters),
      group_scales_(group_scales),
      scale_(padded_channels(weight.block)) {
  std::copy(parameters.weight_scale, parameters.weight_scale + weight.block.channels, scale_.begin());
}

void GroupDense::run(int level, const float* input, int64_t num_rows, float* output, ThreadPool* pool) {
  const OptionBlock& block = weight_.block;
  const int64_t depth = block.depth, together = std::max<int64_t>(kBytesTogether / depth, 1);
  for (int64_t first = 0; first < num_rows; first += together) {
    const int64_t count = std::min(together, num_rows - first);
    const GroupedShape shape = {static_cast<int>(count), block.depth, block.group_size};
    const bool are_there = reuses_rows_ && count == num_rows;
    const GroupRows rows = are_there ? quantized_grouped_rows(shape, pool)
                                     : quantize_grouped_rows(quantize_, input + first * depth, shape, pool);
    run_rows(level, rows, output + first * block.channels, pool);
  }
}

void GroupDense::run_rows(int level, const GroupRows& rows, float* output, ThreadPool* pool) {
  const OptionBlock& block = weight_.block;
  const PackedWeight weight = weight_at(weight_, level);
  const GroupDequantization dequantization = {scale_.data(), bias_of(level).data(), parameters_.low, parameters_.high};
  const auto blocks = static_cast<int64_t>(align(block.channels, kMatrixChannels) / kMatrixChannels);
  const int64_t part_blocks = std::max<int64_t>(kMinPartBytes / (int64_t{block.depth} * kMatrixChannels / 2), 1);
  const int64_t most = pool->size() == 1 ? 1 : pool->size() * kPartsAThread;
  const auto parts = static_cast<int>(std::clamp<int64_t>(blocks / part_blocks, 1, most));
  pool->run(parts, [&](int part, Workspace* workspace) {
    const Range range = split_range(blocks, part, parts);
    const auto first = static_cast<uint32_t>(range.begin), count = static_cast<uint32_t>(range.end - range.begin);
    uint8_t* scratch = workspace->get(group_scratch_bytes(block.depth));
    run_groups(kernel_, {weight, group_scales_, rows, first, count, scratch}, dequantization, output);
  });
}

const std::vector<float>& GroupDense::bias_of(int level) {
  std::vector<float>& padded = bias_[static_cast<size_t>(level)];
  if (!padded.empty()) return padded;
  const OptionBlock& block = weight_.block;
  padded.resize(padded_channels(block));
  const float* bias = parameters_.bias;
  if (bias != nullptr && block.has_bias) {
    write_bias(block, weight_.levels[level].data, level, scale_.data(), bias, padded.data());
  } else if (bias != nullptr) {
    std::copy(bias, bias + block.channels, padded.begin());
  }
  return padded;
}

}  // namespace nq
