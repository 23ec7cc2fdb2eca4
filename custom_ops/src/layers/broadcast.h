// Two tensors walked together as NumPy and TFLite broadcast them: in runs within which each advances by one or stands.
#pragma once

#include <cstdint>
#include <vector>

namespace nq {

// `count` elements of the output from `begin` on.
struct BroadcastRun {
  int64_t a, b;            // where the operands start
  int64_t a_step, b_step;  // 0 or 1
  int64_t begin, count;
};

class Broadcast {
 public:
  // Takes the operands' shapes and gives the output's; false if they do not broadcast.
  bool set(const std::vector<int32_t>& a, const std::vector<int32_t>& b, std::vector<int32_t>* output);
  int64_t elements() const { return elements_; }

  // Calls apply(BroadcastRun) for runs that cover elements [begin, end) of the output.
  template <typename Apply>
  void for_each_run(int64_t begin, int64_t end, const Apply& apply) const {
    while (begin < end) {
      const BroadcastRun run = run_at(begin, end);
      apply(run);
      begin += run.count;
    }
  }

 private:
  struct Axis {
    int64_t size, a_stride, b_stride;
  };

  BroadcastRun run_at(int64_t begin, int64_t end) const;

  std::vector<Axis> axes_;  // innermost first, neighbours of one kind merged
  int64_t elements_ = 0;
};

}  // namespace nq
