#include "layers/depthwise_convolution.h"

#include <algorithm>

namespace nq {
namespace {

// Runs of pixels that share one unpacking of the weights.
constexpr int64_t kRuns = 32;

}  // namespace

void DepthwiseConvolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  taps_.reshape(geometry);
  padding_.assign(static_cast<size_t>(geometry.in_w) * static_cast<size_t>(geometry.in_c),
                  static_cast<int8_t>(layer_->input_zero_point()));
}

void DepthwiseConvolution::run(int level, const int8_t* input, int8_t* output, ThreadPool* pool) {
  run_pixels(layer_->packed(level), layer_->folded_bias(level, kernel_.sum_offset), input, layer_->requantization(),
             output, pool);
}

template <typename Finish, typename Out>
void DepthwiseConvolution::run_pixels(const PackedWeight& weight, const int32_t* bias, const int8_t* input,
                                      const Finish& finish, Out* output, ThreadPool* pool) const {
  const uint32_t depth = weight.block.depth, channels = weight.block.channels;
  const size_t run_bytes = sizeof(TapRun) * kRuns, tap_bytes = align(sizeof(const int8_t*) * depth * kRuns, kLineBytes);
  pool->run([&](int part, Workspace* workspace) {
    const Range pixels = split_range(geometry_.pixels(), part, pool->size());
    uint8_t* memory = workspace->get(run_bytes + tap_bytes + depthwise_scratch_bytes(depth));
    auto* runs = reinterpret_cast<TapRun*>(memory);
    auto* taps = reinterpret_cast<const int8_t**>(memory + run_bytes);
    Place place = place_of(geometry_, pixels.begin);
    for (int64_t pixel = pixels.begin; pixel < pixels.end;) {
      const auto first = static_cast<size_t>(pixel);
      int num_runs = 0;
      for (; num_runs < kRuns && pixel < pixels.end; ++num_runs) {
        const int64_t length = std::min(taps_.run_length(place), pixels.end - pixel);
        const int8_t** run_taps = taps + static_cast<size_t>(num_runs) * depth;
        taps_.point(input, padding_.data(), place, run_taps);
        runs[num_runs] = {run_taps, static_cast<int>(length)};
        advance(geometry_, &place, length);
        pixel += length;
      }
      const DepthwisePixels task_pixels = {runs, num_runs, taps_.step(), taps_.columns(), channels};
      const DepthwiseTask task = {weight, task_pixels, 0, channels, bias, memory + run_bytes + tap_bytes};
      run_depthwise(kernel_, task, finish.from_row(first), output + first * channels, channels);
    }
  });
}

}  // namespace nq
