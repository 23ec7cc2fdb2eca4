// What the tests add to GoogleTest: TEST(name) { CHECK(...); CHECK_EQ(expected, got); } in the suite NQ_SUITE, which is
// the program's name, and checks of statuses and of kernels' outputs.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>

#include "status.h"

namespace nq_test {

// What a kernel gave, beside what it must give; main prints all of them.
struct Tally {
  uint64_t cases = 0, outputs = 0, differences = 0;
};

inline std::map<std::string, Tally>& tallies() {
  static std::map<std::string, Tally> by_kernel;
  return by_kernel;
}

// Compares the first outputs of `expected` with all of `got`.
template <typename Output>
testing::AssertionResult same_outputs(const std::string& kernel, const std::vector<Output>& expected,
                                      const std::vector<Output>& got) {
  Tally& tally = tallies()[kernel];
  uint64_t differences = 0;
  for (size_t i = 0; i < got.size(); ++i) differences += expected.at(i) == got[i] ? 0 : 1;
  tally.cases += 1;
  tally.outputs += got.size();
  tally.differences += differences;
  if (differences == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure() << kernel << ": " << differences << " outputs differ";
}

// Whether to run the next one of thousands of cases alike: each of them, or every NQ_STRIDE-th under valgrind.
inline bool is_chosen() {
  static const char* const text = std::getenv("NQ_STRIDE");
  static const uint64_t stride = text == nullptr ? 1 : std::strtoull(text, nullptr, 10);
  static uint64_t number = 0;
  return number++ % stride == 0;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline testing::AssertionResult succeeds(const nq::Status& status) {
  if (status.ok()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << status.message();
}

inline testing::AssertionResult fails(nq_status code, const std::string& text, const nq::Status& status) {
  if (status.code() != code) {
    return testing::AssertionFailure() << "expected status " << code << ", got " << status.code() << ": "
                                       << status.message();
  }
  if (contains(status.message(), text)) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "no \"" << text << "\" in: " << status.message();
}

}  // namespace nq_test

#define TEST(name) GTEST_TEST(NQ_SUITE, name)

#define CHECK(condition) EXPECT_TRUE(condition)

#define CHECK_EQ(expected, got) EXPECT_EQ(expected, got)

#define CHECK_OUTPUTS(kernel, expected, got) EXPECT_TRUE(nq_test::same_outputs(kernel, expected, got))

// The status is a failure with this code and its message contains the text.
#define CHECK_FAILS(status_code, text, status) EXPECT_TRUE(nq_test::fails(status_code, text, status))

// The status is a success.
#define CHECK_OK(status) EXPECT_TRUE(nq_test::succeeds(status))
