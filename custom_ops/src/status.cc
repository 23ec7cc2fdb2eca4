#include "status.h"

#include <pthread.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace nq {
namespace {

char kNoMemory[] = "out of memory: nothing has changed; free some and try again";

// The calling thread's last message. Not a thread_local string: the first use of one in a thread ends the process where
// memory is short.
class LastMessage {
 public:
  LastMessage() : usable_(pthread_key_create(&key_, release) == 0) {}

  const char* get() const {
    const void* text = usable_ ? pthread_getspecific(key_) : nullptr;
    return text == nullptr ? "" : static_cast<const char*>(text);
  }

  void set(const char* text) {
    if (!usable_) return;
    char* copy = *text == '\0' ? nullptr : strdup(text);
    if (copy == nullptr && *text != '\0') copy = kNoMemory;
    void* before = pthread_getspecific(key_);
    release(pthread_setspecific(key_, copy) == 0 ? before : copy);
  }

 private:
  static void release(void* text) {
    if (text != kNoMemory) std::free(text);
  }

  pthread_key_t key_;
  bool usable_;
};

LastMessage last_message;

Status make_status(nq_status code, const char* format, va_list arguments, const char* advice) noexcept {
  try {
    char message[1024];
    std::vsnprintf(message, sizeof(message), format, arguments);
    return Status(code, std::string(message) + advice);
  } catch (...) {
    return Status(code, {});
  }
}

}  // namespace

Status error(nq_status code, const char* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  Status status = make_status(code, format, arguments, "");
  va_end(arguments);
  return status;
}

Status invalid_model(const char* format, ...) noexcept {
  va_list arguments;
  va_start(arguments, format);
  Status status = make_status(NQ_INVALID_MODEL, format, arguments, "; convert the model again");
  va_end(arguments);
  return status;
}

void keep_last_error(const Status& status) noexcept {
  last_message.set(status.message().empty() ? kNoMemory : status.message().c_str());
}

void forget_last_error() noexcept { last_message.set(""); }

const char* last_error() noexcept { return last_message.get(); }

Status status_of_current_exception() noexcept {
  try {
    throw;
  } catch (RunError& failure) {
    return std::move(failure.status);
  } catch (const std::bad_alloc&) {
    return Status(NQ_SYSTEM, {});
  } catch (const std::exception& exception) {
    return error(NQ_SYSTEM, "unexpected %s; please report this as a bug", exception.what());
  } catch (...) {
    return error(NQ_SYSTEM, "an unexpected exception; please report this as a bug");
  }
}

}  // namespace nq
