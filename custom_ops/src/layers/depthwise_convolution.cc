#include "layers/depthwise_convolution.h"

#include <algorithm>

namespace nq {
namespace {

// Runs of pixels that share one unpacking of the weights; `python -m nq_tflite_models.benchmark` times it.
constexpr int64_t kRuns = 32;

}  // namespace

void DepthwiseConvolution::reshape(const Geometry& geometry) {
  geometry_ = geometry;
  taps_.reshape(geometry);
  padding_.reshape(geometry);
}

void DepthwiseConvolution::run(const LayerTask& task, const Requantization& requantization, int8_t* output,
                               ThreadPool* pool) {
  run_pixels(task, requantization, output, pool);
}

void DepthwiseConvolution::run(const LayerTask& task, const FloatFinish& finish, float* output, ThreadPool* pool) {
  run_pixels(task, finish, output, pool);
}

template <typename Finish, typename Out>
void DepthwiseConvolution::run_pixels(const LayerTask& task, const Finish& finish, Out* output, ThreadPool* pool) {
  padding_.fill(geometry_, task.zero_point);
  const uint32_t depth = block_.depth, channels = block_.channels;
  const size_t run_bytes = sizeof(TapRun) * kRuns, tap_bytes = align(sizeof(const int8_t*) * depth * kRuns, kLineBytes);
  pool->run([&](int part, Workspace* workspace) {
    const Range pixels = split_range(task.num_pixels, part, pool->size());
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
        taps_.point(task.input, padding_.data(), place, run_taps);
        runs[num_runs] = {run_taps, static_cast<int>(length), num_runs > 0 && place.x > 0};
        advance(geometry_, &place, length);
        pixel += length;
      }
      const DepthwisePixels task_pixels = {runs, num_runs, taps_.step(), taps_.columns(), channels};
      const DepthwiseTask depthwise_task = {task.weight, task_pixels, 0,
                                            channels,    task.bias,   memory + run_bytes + tap_bytes};
      run_depthwise(kernel_, depthwise_task, of_sums(finish).from_row(first), output + first * channels, channels);
      finish_results(finish, {pixel - static_cast<int64_t>(first), channels, channels}, output + first * channels);
    }
  });
}

}  // namespace nq
