// The plugin without memory: each of its allocations fails, alone and with all after it.
#include "short_memory.h"

#include <string>

#include "check.h"
#include "loaded_model.h"

namespace {

using nq_test::create_delegate;
using nq_test::LoadedModel;

// Calls `act` with its first allocation failing, its second one, and so on, until none has failed; `act` says whether
// it has succeeded. Without memory for good at last.
template <typename Act>
int survive(const Act& act) {
  int failures = 0;
  for (const bool for_good : {false, true}) {
    for (uint64_t nth = 1;; ++nth) {
      nq_test::fail_allocation(nth, for_good);
      const bool succeeded = act();
      if (!nq_test::stop_failing()) {
        CHECK(succeeded);
        break;
      }
      ++failures;
      if (!succeeded) {
        CHECK(*nq_last_error() != '\0');
      }
    }
  }
  return failures;
}

// The runtime's own memory is never short: what is tested is the library.
TfLiteContext runtime_calls;
TfLiteRegistration node_calls;

void* init_node(TfLiteContext* context, const char* buffer, size_t size) {
  const nq_test::Pause again(false);
  return node_calls.init(context, buffer, size);
}

void keep_memory_for_runtime(TfLiteContext* context) {
  runtime_calls = *context;
  context->GetExecutionPlan = [](TfLiteContext* runtime, TfLiteIntArray** plan) {
    const nq_test::Pause pause;
    return runtime_calls.GetExecutionPlan(runtime, plan);
  };
  context->ResizeTensor = [](TfLiteContext* runtime, TfLiteTensor* tensor, TfLiteIntArray* shape) {
    const nq_test::Pause pause;
    return runtime_calls.ResizeTensor(runtime, tensor, shape);
  };
  context->ReplaceNodeSubsetsWithDelegateKernels = [](TfLiteContext* runtime, TfLiteRegistration registration,
                                                      const TfLiteIntArray* nodes, TfLiteDelegate* delegate) {
    const nq_test::Pause pause;
    node_calls = registration;
    registration.init = init_node;
    return runtime_calls.ReplaceNodeSubsetsWithDelegateKernels(runtime, registration, nodes, delegate);
  };
}

TEST(every_allocation_of_a_session_may_fail) {
  LoadedModel loaded(nq_test::example_weights());
  nq_session session = 0;
  CHECK(survive([&] {
          nq_session_close(session);
          return (session = nq_session_open()) != 0;
        }) > 0);
  std::string handle = std::to_string(session);
  char key[] = "session", profile[] = "profile", yes[] = "1";
  char* keys[] = {key, profile};
  char* values[] = {handle.data(), yes};
  CHECK(survive([&] {
          loaded.delegate.reset();
          loaded.delegate.reset(tflite_plugin_create_delegate(keys, values, 2, nullptr));
          return loaded.delegate != nullptr;
        }) > 0);
  CHECK_EQ(kTfLiteOk, loaded.runtime.apply(loaded.delegate.get()));
  CHECK(survive([&] { return nq_session_prepare(session) == NQ_OK; }) > 0);
  CHECK_EQ(kTfLiteOk, loaded.runtime.prepare());
  int32_t level = -1;
  for (const int wanted : {0, 2, 1, 0, 2}) {
    CHECK_EQ(NQ_OK, nq_session_get_level(session, &level));
    const int before = level;
    survive([&] {
      const bool switched = nq_session_set_level(session, wanted, 0, nullptr) == NQ_OK;
      CHECK_EQ(NQ_OK, nq_session_get_level(session, &level));
      CHECK_EQ(switched ? wanted : before, level);
      if (switched) {
        CHECK_EQ(NQ_OK, nq_session_set_level(session, before, 0, nullptr));
      }
      return switched;
    });
    CHECK_EQ(NQ_OK, nq_session_set_level(session, wanted, 0, nullptr));
    survive([&] { return loaded.runtime.invoke() == kTfLiteOk; });
    loaded.check_weights(wanted);
  }
  uint64_t size = 0, resident = 0;
  survive([&] { return nq_session_memory(session, 0, &size, &resident, nullptr) == NQ_OK; });
  const nq_operator* operators = nullptr;
  CHECK(survive([&] { return nq_session_delegation(session, &operators, &level, nullptr) == NQ_OK; }) > 0);
  const nq_layer_time* layers = nullptr;
  CHECK(survive([&] { return nq_session_profile(session, 0, &layers, &level) == NQ_OK; }) > 0);
  CHECK(survive([&] { return nq_session_set_level(session, 9, 0, nullptr) == NQ_INVALID_ARGUMENT; }) > 0);
  nq_session_close(session);
}

TEST(every_allocation_of_a_claim_may_fail) {
  // What has failed may be applied anew, and no weight of a node that was not built stays in the session.
  const nq_session session = nq_session_open();
  for (uint64_t nth = 1, failed = 1; failed != 0; ++nth) {
    LoadedModel loaded(nq_test::example_weights());
    loaded.delegate.reset(create_delegate({{"session", std::to_string(session)}}));
    CHECK(loaded.delegate != nullptr);
    keep_memory_for_runtime(loaded.runtime.context());
    nq_test::fail_allocation(nth, false);
    const bool applied = loaded.runtime.apply(loaded.delegate.get()) == kTfLiteOk;
    const bool prepared = applied && loaded.runtime.prepare() == kTfLiteOk;
    failed = nq_test::stop_failing() ? 1 : 0;
    CHECK(failed != 0 || prepared);
    if (prepared) {
      CHECK_EQ(kTfLiteOk, loaded.runtime.invoke());
    }
  }
  nq_session_close(session);
}

}  // namespace
