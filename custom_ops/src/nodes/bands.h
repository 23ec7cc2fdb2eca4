// Steps of a partition that compute an image together, a band of rows at a time: what lies between them, which may be
// large, is never in memory whole.
#pragma once

#include <unordered_set>
#include <vector>

#include "nodes/layer_clock.h"
#include "operators/rewriting.h"
#include "operators/row_operator.h"

namespace nq {

class BandedSteps {
 public:
  // Each step but the first reads what the one before it writes, and is the only one that does.
  BandedSteps(const std::vector<Operator*>& steps, int num_threads);

  size_t bytes() const { return bytes_; }  // of the memory that run() needs

  // With a clock, the times of the steps are added to those of its layers from `first_layer` on; null: untimed.
  void run(const Pointers& tensors, uint8_t* memory, ThreadPool* threads, LayerClock* clock = nullptr,
           size_t first_layer = 0);

 private:
  struct Stage {
    RowOperator* rows;
    int32_t most_rows;  // of a band of its output
    size_t row_bytes;
    size_t offset;       // of the band in memory
    int32_t begin, end;  // the rows that it has
  };
  struct Run;

  int64_t place_bands(int32_t rows);
  int32_t choose_rows(int64_t bytes);
  void compute(const Run& run, size_t stage, int32_t begin, int32_t end, int8_t* output);
  const int8_t* make_rows(const Run& run, size_t stage, int32_t begin, int32_t end);

  std::vector<Stage> stages_;
  int input_, output_;  // tensors
  int32_t rows_;        // of the output, at a time
  size_t bytes_ = 0;
};

// For each step, the last one of those that are computed in bands with it; the step itself if it runs alone.
std::vector<size_t> find_bands(const Steps& steps, const Shapes& shapes, const std::unordered_set<int>& outputs);

}  // namespace nq
