// Places tensors that live for part of an inference into one block of memory.
#pragma once

#include <cstddef>
#include <vector>

namespace nq {

// From the step that writes it to the last one that reads it, both inclusive.
struct Lifetime {
  size_t bytes;
  int first_step, last_step;
};

struct ArenaPlan {
  std::vector<size_t> offsets;  // of each lifetime, multiples of 64
  size_t bytes = 0;
};

// Greedy by size: the largest first, each at the lowest offset where it overlaps none that lives at the same time.
ArenaPlan plan_arena(const std::vector<Lifetime>& lifetimes);

}  // namespace nq
