// A minimal test harness: TEST(name) { CHECK(...); CHECK_EQ(expected, got); } and a main that runs them all.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <sstream>
#include <string>
#include <vector>

namespace nq_test {

struct Case {
  const char* name;
  void (*run)();
};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

// What a kernel gave, beside what it must give; main prints all of them.
struct Tally {
  uint64_t cases = 0, outputs = 0, differences = 0;
};

inline std::map<std::string, Tally>& tallies() {
  static std::map<std::string, Tally> by_kernel;
  return by_kernel;
}

struct Registration {
  Registration(const char* name, void (*run)()) { cases().push_back({name, run}); }
};

inline void fail(const char* file, int line, const std::string& message) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, message.c_str());
  if (++failures() >= 20) std::exit(1);
}

template <typename Expected, typename Got>
void check_equal(const char* file, int line, const char* text, const Expected& expected, const Got& got) {
  if (expected == got) return;
  std::ostringstream message;
  message << text << ": expected " << expected << ", got " << got;
  fail(file, line, message.str());
}

// Compares the first outputs of `expected` with all of `got`.
template <typename Output>
void check_outputs(const char* file, int line, const std::string& kernel, const std::vector<Output>& expected,
                   const std::vector<Output>& got) {
  Tally& tally = tallies()[kernel];
  uint64_t differences = 0;
  for (size_t i = 0; i < got.size(); ++i) differences += expected.at(i) == got[i] ? 0 : 1;
  tally.cases += 1;
  tally.outputs += got.size();
  tally.differences += differences;
  if (differences > 0) fail(file, line, kernel + ": " + std::to_string(differences) + " outputs differ");
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace nq_test

#define TEST(name)                                                     \
  static void name();                                                  \
  static const nq_test::Registration name##_registration(#name, name); \
  static void name()

#define CHECK(condition) \
  if (!(condition)) nq_test::fail(__FILE__, __LINE__, "failed: " #condition)

#define CHECK_EQ(expected, got) nq_test::check_equal(__FILE__, __LINE__, #got, expected, got)

#define CHECK_OUTPUTS(kernel, expected, got) nq_test::check_outputs(__FILE__, __LINE__, kernel, expected, got)

// The status is a failure with this code and its message contains the text.
#define CHECK_FAILS(status_code, text, status)                                                        \
  do {                                                                                                \
    const ::nq::Status& checked = (status);                                                           \
    nq_test::check_equal(__FILE__, __LINE__, #status, status_code, checked.code());                   \
    if (!nq_test::contains(checked.message(), text))                                                  \
      nq_test::fail(__FILE__, __LINE__, "no \"" + std::string(text) + "\" in: " + checked.message()); \
  } while (false)

// The status is a success.
#define CHECK_OK(status)                                                                    \
  do {                                                                                      \
    const ::nq::Status& checked = (status);                                                 \
    if (!checked.ok()) nq_test::fail(__FILE__, __LINE__, #status ": " + checked.message()); \
  } while (false)
