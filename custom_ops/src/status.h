// The outcome of a fallible call: a C API status code and, for a failure, a message that says what was expected, what
// was found and what to do. Where there is no memory for the message it is empty: a failure can always be told.
#pragma once

#include <string>

#include "nq.h"

namespace nq {

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(nq_status code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == NQ_OK; }
  nq_status code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same failure, with the place it happened in front of the message.
  Status at(const std::string& place) const { return ok() ? *this : Status(code_, place + ": " + message_); }

 private:
  nq_status code_ = NQ_OK;
  std::string message_;
};

[[gnu::format(printf, 2, 3)]] Status error(nq_status code, const char* format, ...) noexcept;

// A model that breaks a rule of the format; adds what to do about it.
[[gnu::format(printf, 1, 2)]] Status invalid_model(const char* format, ...) noexcept;

// Thrown by what has no other way to say that it failed.
struct RunError {
  Status status;
};

// The calling thread's last failure, for nq_last_error(): whoever reports one to a C caller or to the runtime keeps it.
void keep_last_error(const Status& status) noexcept;
void forget_last_error() noexcept;
const char* last_error() noexcept;

// What an exception that reaches the C boundary becomes there. Call it inside a catch block only.
Status status_of_current_exception() noexcept;

}  // namespace nq
