// A system that has little memory: what asks for much is refused it, and has to say so in turn. Small sizes also keep a
// fuzzer fast.
#pragma once

namespace nq_fuzz {

// While one lives, `new` fails for more than a megabyte at a time.
class LittleMemory {
 public:
  LittleMemory();
  ~LittleMemory();
  LittleMemory(const LittleMemory&) = delete;
  LittleMemory& operator=(const LittleMemory&) = delete;
};

}  // namespace nq_fuzz
