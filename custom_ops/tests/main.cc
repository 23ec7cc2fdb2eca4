#include <cstdio>

#include "check.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc > 1) {
    std::fprintf(stderr, "expected options of GoogleTest, got %s; one test alone: --gtest_filter='*.NAME'\n", argv[1]);
    return 2;
  }
  const int failed = RUN_ALL_TESTS();
  for (const auto& [kernel, tally] : nq_test::tallies()) {
    std::printf("%-24s %8llu cases, %10llu outputs compared, %llu differ\n", kernel.c_str(),
                static_cast<unsigned long long>(tally.cases), static_cast<unsigned long long>(tally.outputs),
                static_cast<unsigned long long>(tally.differences));
  }
  if (testing::UnitTest::GetInstance()->test_to_run_count() > 0 || GTEST_FLAG_GET(list_tests)) return failed;
  std::fprintf(stderr, "no test has such a name: --gtest_list_tests shows them\n");
  return 1;
}
