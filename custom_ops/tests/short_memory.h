// A test program whose operator new and malloc fail on request. In a program of its own: it replaces them for all of
// it.
#pragma once

#include <cstdint>

namespace nq_test {

// From now on the `nth` allocation of any thread fails, counted from 1, and all those after it if `for_good`.
void fail_allocation(uint64_t nth, bool for_good);
// Ends that; whether it has come to a failure.
bool stop_failing();

// Lets allocations succeed uncounted while it lives, or, inside of one that does, counts them again.
class Pause {
 public:
  explicit Pause(bool paused = true);
  ~Pause();
  Pause(const Pause&) = delete;
  Pause& operator=(const Pause&) = delete;

 private:
  bool before_;
};

}  // namespace nq_test
