#pragma once

#include <cstddef>

namespace nq {

// Every kernel of one kind in this build, slowest first.
template <typename Kernel>
struct KernelList {
  const Kernel* const* first;
  size_t count;
  const Kernel* const* begin() const { return first; }
  const Kernel* const* end() const { return first + count; }
};

}  // namespace nq
