// What a child of fork() finds.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

namespace nq_test {

// Whether `good` is true in a child, which has the time to say so, and whose checks hold.
template <typename Good>
bool in_child(const Good& good) {
  constexpr unsigned kSeconds = 60;
  const pid_t child = fork();
  if (child == 0) {
    alarm(kSeconds);
    const char* verdict = good() && !testing::Test::HasFailure() ? "true" : "false";
    // Another program ends the child: a leak check there would miss what the parent's threads hold.
    execlp(verdict, verdict, nullptr);
    _exit(2);
  }
  int status = -1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace nq_test
