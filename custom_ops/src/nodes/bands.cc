#include "nodes/bands.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

namespace nq {
namespace {

// Bands stay in the L2 cache, and are long enough that unpacking a layer's weights once for each costs little. Several
// threads have as many caches, and meet after each layer of a band: that costs more than memory does.
// `python -m nq_tflite_models.benchmark --models mobilenet_v2 --threads 1,2` times it.
constexpr int64_t kBandBytes = 128 * 1024, kBandBytesOfEach = 256 * 1024, kLeastPixels = 256;

// Smaller tensors stay in the cache as they are.
constexpr int64_t kWorthBands = 256 * 1024;

int32_t rows_needed(const Geometry& g, int64_t rows) {
  const int64_t span = window_span(g.window.kernel_h, g.window.dilation_h);
  return static_cast<int32_t>(std::min<int64_t>((rows - 1) * g.window.stride_h + span, g.in_h));
}

}  // namespace

struct BandedSteps::Run {
  const Pointers& tensors;
  uint8_t* memory;
  ThreadPool* threads;
  LayerClock* clock;
  size_t first_layer;
  int32_t batch;
};

BandedSteps::BandedSteps(const std::vector<Operator*>& steps, int num_threads)
    : input_(steps.front()->inputs()[0]), output_(steps.back()->output()) {
  int input = input_;
  for (Operator* step : steps) {
    RowOperator* rows = step->by_rows(input);
    const Geometry& g = rows->geometry();
    stages_.push_back({rows, 0, static_cast<size_t>(g.out_w) * static_cast<size_t>(g.out_c), 0, 0, 0});
    input = step->output();
  }
  rows_ = choose_rows(num_threads == 1 ? kBandBytes : kBandBytesOfEach * num_threads);
  bytes_ = static_cast<size_t>(place_bands(rows_));
}

// Gives every stage but the last room for what `rows` of the output need; returns the bytes of all.
int64_t BandedSteps::place_bands(int32_t rows) {
  size_t bytes = 0;
  for (size_t k = stages_.size() - 1; k > 0; --k) {
    rows = rows_needed(stages_[k].rows->geometry(), rows);
    stages_[k - 1].most_rows = rows;
    stages_[k - 1].offset = bytes;
    bytes += align(static_cast<size_t>(rows) * stages_[k - 1].row_bytes, kLineBytes);
  }
  return static_cast<int64_t>(bytes);
}

// As many rows as fit, found by halves.
int32_t BandedSteps::choose_rows(int64_t bytes) {
  const Geometry& g = stages_.back().rows->geometry();
  int32_t least = static_cast<int32_t>(std::min<int64_t>((kLeastPixels + g.out_w - 1) / g.out_w, g.out_h)),
          most = g.out_h;
  while (least < most) {
    const int32_t middle = least + (most - least + 1) / 2;
    if (place_bands(middle) <= bytes) {
      least = middle;
    } else {
      most = middle - 1;
    }
  }
  return least;
}

void BandedSteps::run(const Pointers& tensors, uint8_t* memory, ThreadPool* threads, LayerClock* clock,
                      size_t first_layer) {
  const Geometry& g = stages_.back().rows->geometry();
  const size_t row_bytes = stages_.back().row_bytes;
  auto* output = reinterpret_cast<int8_t*>(tensors.at(output_));
  for (const Stage& stage : stages_) stage.rows->begin_rows();
  for (int32_t batch = 0; batch < g.batches; ++batch) {
    for (Stage& stage : stages_) stage.begin = stage.end = 0;
    for (int32_t row = 0; row < g.out_h; row += rows_) {
      const int32_t end = std::min(row + rows_, g.out_h);
      compute({tensors, memory, threads, clock, first_layer, batch}, stages_.size() - 1, row, end, output);
      output += static_cast<size_t>(end - row) * row_bytes;
    }
  }
  for (const Stage& stage : stages_) stage.rows->end_rows();
}

void BandedSteps::compute(const Run& run, size_t stage, int32_t begin, int32_t end, int8_t* output) {
  RowOperator* rows = stages_[stage].rows;
  const Geometry& g = rows->geometry();
  const Band band = band_of(g, run.batch, begin, end);
  const int32_t first = band.first_input_row;
  const int8_t* input = nullptr;
  if (stage > 0) {
    input = make_rows(run, stage - 1, first, first + band.geometry.in_h);
  } else {
    const size_t row = static_cast<size_t>(run.batch) * static_cast<size_t>(g.in_h) + static_cast<size_t>(first);
    const size_t row_bytes = static_cast<size_t>(g.in_w) * static_cast<size_t>(g.in_c);
    input = reinterpret_cast<const int8_t*>(run.tensors.at(input_)) + row * row_bytes;
  }
  const auto work = [&] { rows->run_rows(band, input, run.tensors, output, run.threads); };
  run.clock == nullptr ? work() : run.clock->time(run.first_layer + stage, work);
}

// Rows of what a stage computes: those that its band has already move to its front, and the others come behind them.
const int8_t* BandedSteps::make_rows(const Run& run, size_t stage, int32_t begin, int32_t end) {
  Stage& s = stages_[stage];
  auto* band = reinterpret_cast<int8_t*>(run.memory + s.offset);
  const int32_t kept = begin >= s.begin ? std::max(s.end - begin, 0) : 0;
  const size_t kept_bytes = static_cast<size_t>(kept) * s.row_bytes;
  if (kept > 0) std::memmove(band, band + static_cast<size_t>(begin - s.begin) * s.row_bytes, kept_bytes);
  s.begin = begin;
  s.end = std::max(begin + kept, end);
  if (begin + kept < end) compute(run, stage, begin + kept, end, band + kept_bytes);
  return band;
}

std::vector<size_t> find_bands(const Steps& steps, const Shapes& shapes, const std::unordered_set<int>& outputs) {
  std::unordered_map<int, int> readings;
  for (const auto& step : steps) {
    for (const int input : step->inputs()) ++readings[input];
  }
  const auto goes_on = [&](size_t i) {
    if (i + 1 == steps.size() || steps[i]->inputs().empty()) return false;
    const int between = steps[i]->output();
    return outputs.count(between) == 0 && readings[between] == 1 && num_elements(shapes.at(between)) > kWorthBands &&
           steps[i]->by_rows(steps[i]->inputs()[0]) != nullptr && steps[i + 1]->by_rows(between) != nullptr;
  };
  std::vector<size_t> last(steps.size());
  for (size_t i = steps.size(); i-- > 0;) last[i] = goes_on(i) ? last[i + 1] : i;
  return last;
}

}  // namespace nq
