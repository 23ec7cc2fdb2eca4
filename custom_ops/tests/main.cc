#include "check.h"

int main() {
  for (const nq_test::Case& test : nq_test::cases()) {
    const int before = nq_test::failures();
    test.run();
    std::printf("%s %s\n", nq_test::failures() == before ? "ok  " : "FAIL", test.name);
  }
  for (const auto& [kernel, tally] : nq_test::tallies()) {
    std::printf("%-24s %8llu cases, %10llu outputs compared, %llu differ\n", kernel.c_str(),
                static_cast<unsigned long long>(tally.cases), static_cast<unsigned long long>(tally.outputs),
                static_cast<unsigned long long>(tally.differences));
  }
  std::printf("%zu tests, %d failed checks\n", nq_test::cases().size(), nq_test::failures());
  return nq_test::failures() == 0 && !nq_test::cases().empty() ? 0 : 1;
}
