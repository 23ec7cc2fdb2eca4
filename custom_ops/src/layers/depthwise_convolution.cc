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
  padding_.resize(static_cast<size_t>(geometry.in_c));
}

void DepthwiseConvolution::run(const LayerTask& task, const Requantization& requantization, int8_t* output,
                               ThreadPool* pool) {
  run_pixels(task, requantization, output, pool);
}

void DepthwiseConvolution::run(const LayerTask& task, const Dequantization& dequantization, float* output,
                               ThreadPool* pool) {
  run_pixels(task, dequantization, output, pool);
}

template <typename Finish, typename Out>
void DepthwiseConvolution::run_pixels(const LayerTask& task, const Finish& finish, Out* output, ThreadPool* pool) {
  std::fill(padding_.begin(), padding_.end(), task.zero_point);
  const uint32_t depth = block_.depth, channels = block_.channels;
  const size_t pointer_bytes = sizeof(const int8_t*) * depth * kBatch;
  pool->run([&](int part, Workspace* workspace) {
    const Range pixels = split_range(task.num_pixels, part, pool->size());
    uint8_t* memory = workspace->get(pointer_bytes + depthwise_scratch_bytes(depth));
    auto* taps = reinterpret_cast<const int8_t**>(memory);
    for (int64_t first = pixels.begin; first < pixels.end; first += kBatch) {
      const int64_t count = std::min(kBatch, pixels.end - first);
      Place place = place_of(geometry_, first);
      for (int64_t i = 0; i < count; ++i, advance(geometry_, &place)) {
        taps_.point(task.input, padding_.data(), place, taps + i * depth);
      }
      const DepthwiseTask depthwise_task = {task.weight, taps,      static_cast<int>(count), 0,
                                            channels,    task.bias, memory + pointer_bytes};
      const auto at = static_cast<size_t>(first);
      run_depthwise(kernel_, depthwise_task, finish.from_row(at), output + at * channels, channels);
    }
  });
}

}  // namespace nq
