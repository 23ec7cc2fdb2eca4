#include "layers/depthwise_convolution.h"

#include <algorithm>

namespace nq {
namespace {

// Pixels that share one unpacking of the weights.
constexpr int64_t kBatch = 128;

}  // namespace

void DepthwiseConvolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  taps_.reshape(geometry);
  padding_.assign(static_cast<size_t>(geometry.in_c), static_cast<int8_t>(layer_->input_zero_point()));
}

void DepthwiseConvolution::run(int level, const int8_t* input, int8_t* output, ThreadPool* pool) {
  run_pixels(layer_->packed(level), layer_->folded_bias(level, kernel_.sum_offset), input, layer_->requantization(),
             output, pool);
}

template <typename Finish, typename Out>
void DepthwiseConvolution::run_pixels(const PackedWeight& weight, const int32_t* bias, const int8_t* input,
                                      const Finish& finish, Out* output, ThreadPool* pool) const {
  const uint32_t depth = weight.block.depth, channels = weight.block.channels;
  const size_t pointer_bytes = sizeof(const int8_t*) * depth * kBatch;
  pool->run([&](int part, Workspace* workspace) {
    const Range pixels = split_range(geometry_.pixels(), part, pool->size());
    uint8_t* memory = workspace->get(pointer_bytes + depthwise_scratch_bytes(depth));
    auto* taps = reinterpret_cast<const int8_t**>(memory);
    for (int64_t first = pixels.begin; first < pixels.end; first += kBatch) {
      const int64_t count = std::min(kBatch, pixels.end - first);
      Place place = place_of(geometry_, first);
      for (int64_t i = 0; i < count; ++i, advance(geometry_, &place)) {
        taps_.point(input, padding_.data(), place, taps + i * depth);
      }
      const DepthwiseTask task = {weight, taps, static_cast<int>(count), 0, channels, bias, memory + pointer_bytes};
      const auto at = static_cast<size_t>(first);
      run_depthwise(kernel_, task, finish.from_row(at), output + at * channels, channels);
    }
  });
}

}  // namespace nq
