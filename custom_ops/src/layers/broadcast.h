// Two tensors walked together as NumPy and TFLite broadcast them: in runs within which each advances by one or stands.
#pragma once

#include <algorithm>
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
    const Axis &inner = axes_[0], &second = axes_[axes_.size() < 2 ? 0 : 1];
    while (begin < end) {
      BroadcastRun run = run_at(begin, end);
      // Of the runs after it, those that differ in the second axis alone need no divisions.
      int64_t left = axes_.size() < 2 ? 0 : second.size - 1 - begin / inner.size % second.size;
      apply(run);
      begin += run.count;
      const int64_t behind = inner.size - run.count;  // where the first one started
      run.a -= behind * inner.a_stride;
      run.b -= behind * inner.b_stride;
      for (; left > 0 && begin < end; --left, begin += run.count) {
        run.a += second.a_stride;
        run.b += second.b_stride;
        run.begin = begin;
        run.count = std::min(inner.size, end - begin);
        apply(run);
      }
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
