// The accelerator, as LiteRT calls it.
#include <cstddef>
#include <string>

#include "check.h"
#include "litert_abi.h"
#include "nq.h"
#include "status.h"

namespace {

TfLiteDelegate* wrapped;

LiteRtStatus wrap(TfLiteDelegate* delegate, void (*deleter)(TfLiteDelegate*), LiteRtDelegateWrapper** wrapper) {
  wrapped = delegate;
  *wrapper = nullptr;
  deleter(delegate);
  return kLiteRtStatusOk;
}

LiteRtRuntimeContext runtime_of(uint16_t struct_size, uint16_t major_version) {
  LiteRtRuntimeContext runtime = {};
  runtime.header = {struct_size, major_version, 1, 0};
  runtime.wrap_delegate = wrap;
  return runtime;
}

// What LiteRT is told when it asks for a delegate.
LiteRtStatus ask(LiteRtRuntimeContext runtime = runtime_of(408, 1)) {
  wrapped = nullptr;
  LiteRtDelegateWrapper* wrapper = nullptr;
  return LiteRtAcceleratorImpl.create_delegate(&runtime, nullptr, nullptr, nullptr, &wrapper);
}

TEST(a_delegate_has_the_threads_options) {
  const nq_session session = nq_session_open();
  const std::string handle = std::to_string(session);
  const char* keys[] = {"session", "precision"};
  const char* good[] = {handle.c_str(), "part"};
  CHECK_EQ(NQ_OK, nq_accelerator_set_options(keys, good, 2));
  CHECK_EQ(kLiteRtStatusOk, ask());
  CHECK(wrapped != nullptr);

  const char* bad[] = {handle.c_str(), "half"};
  CHECK_EQ(NQ_OK, nq_accelerator_set_options(keys, bad, 2));
  CHECK_EQ(kLiteRtStatusErrorRuntimeFailure, ask());
  CHECK(wrapped == nullptr);
  CHECK(nq_test::contains(nq_last_error(), "option precision=half"));

  CHECK_EQ(NQ_OK, nq_accelerator_set_options(nullptr, nullptr, 0));
  CHECK_EQ(std::string(), nq_last_error());
  CHECK_EQ(kLiteRtStatusOk, ask());
  nq_session_close(session);
}

TEST(runtimes_of_another_abi_are_refused) {
  CHECK_EQ(kLiteRtStatusErrorWrongVersion, ask(runtime_of(408, 2)));
  CHECK_EQ(kLiteRtStatusErrorWrongVersion, ask(runtime_of(offsetof(LiteRtRuntimeContext, wrap_delegate), 1)));
  CHECK(wrapped == nullptr);
}

TEST(it_serves_the_cpu_and_every_model) {
  const char* name = nullptr;
  LiteRtApiVersion version = {};
  LiteRtHwAcceleratorSet hardware = 0;
  bool responsible = true;
  CHECK_EQ(kLiteRtStatusOk, LiteRtAcceleratorImpl.get_name(nullptr, &name));
  CHECK_EQ(kLiteRtStatusOk, LiteRtAcceleratorImpl.get_version(nullptr, &version));
  CHECK_EQ(kLiteRtStatusOk, LiteRtAcceleratorImpl.get_hardware_support(nullptr, &hardware));
  CHECK_EQ(kLiteRtStatusOk, LiteRtAcceleratorImpl.is_delegate_responsible_for_jit(nullptr, &responsible));
  CHECK_EQ(std::string("nq_tflite"), name);
  CHECK_EQ(1, version.major);
  CHECK_EQ(kLiteRtHwAcceleratorCpu, hardware);
  CHECK(!responsible);
}

}  // namespace
