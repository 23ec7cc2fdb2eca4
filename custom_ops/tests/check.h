// A minimal test harness: TEST(name) { CHECK(...); CHECK_EQ(expected, got); } and a main that runs them all.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <sstream>
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

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace nq_test

#define TEST(name)                                                     \
  static void name();                                                  \
  static const nq_test::Registration name##_registration(#name, name); \
  static void name()

#define CHECK(condition) \
  if (!(condition)) nq_test::fail(__FILE__, __LINE__, "failed: " #condition)

#define CHECK_EQ(expected, got) nq_test::check_equal(__FILE__, __LINE__, #got, expected, got)

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
