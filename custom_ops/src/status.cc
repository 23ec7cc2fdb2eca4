#include "status.h"

#include <cstdarg>
#include <cstdio>
#include <exception>

namespace nq {
namespace {

std::string format_message(const char* format, va_list arguments) {
  char message[1024];
  std::vsnprintf(message, sizeof(message), format, arguments);
  return message;
}

thread_local std::string last_message;

}  // namespace

Status error(nq_status code, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string message = format_message(format, arguments);
  va_end(arguments);
  return Status(code, std::move(message));
}

Status invalid_model(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string message = format_message(format, arguments);
  va_end(arguments);
  return Status(NQ_INVALID_MODEL, message + "; convert the model again");
}

void keep_last_error(const Status& status) noexcept {
  try {
    last_message = status.message();
  } catch (...) {
    last_message.clear();
  }
}

void forget_last_error() noexcept { last_message.clear(); }

const char* last_error() noexcept { return last_message.c_str(); }

Status status_of_current_exception() noexcept {
  try {
    throw;
  } catch (const RunError& failure) {
    return failure.status;
  } catch (const std::exception& exception) {
    try {
      return error(NQ_SYSTEM, "unexpected %s; if memory is not short, please report this as a bug", exception.what());
    } catch (...) {
    }
  } catch (...) {
  }
  return Status(NQ_SYSTEM, {});
}

}  // namespace nq
