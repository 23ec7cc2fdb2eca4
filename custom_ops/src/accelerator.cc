#include "accelerator.h"

#include <string>
#include <vector>

#include "litert_abi.h"
#include "nq.h"
#include "nq/format.h"
#include "per_thread.h"
#include "status.h"

namespace nq {
namespace {

struct AcceleratorOptions {
  std::vector<std::string> keys, values;
};
PerThread<AcceleratorOptions> options;

LiteRtStatus get_name(const LiteRtAccelerator*, const char** name) {
  *name = "nq_tflite";
  return kLiteRtStatusOk;
}

LiteRtStatus get_version(const LiteRtAccelerator*, LiteRtApiVersion* version) {
  *version = {kFormatMajor, kFormatMinor, 0};
  return kLiteRtStatusOk;
}

LiteRtStatus get_hardware_support(const LiteRtAccelerator*, LiteRtHwAcceleratorSet* hardware) {
  *hardware = kLiteRtHwAcceleratorCpu;
  return kLiteRtStatusOk;
}

// LiteRT leaves out a responsible one where its hardware is not asked for; nobody else has nested operators.
LiteRtStatus is_responsible_for_jit(const LiteRtAccelerator*, bool* responsible) {
  *responsible = false;
  return kLiteRtStatusOk;
}

bool can_wrap(const LiteRtRuntimeContext& runtime) {
  return runtime.header.major_version == 1 && runtime.header.struct_size >= sizeof(LiteRtRuntimeContext);
}

// With the calling thread's options; null after a failure, which nq_last_error() tells.
TfLiteDelegate* create_delegate_of_thread() noexcept {
  try {
    AcceleratorOptions& own = options.get();
    std::vector<char*> keys, values;
    for (std::string& key : own.keys) keys.push_back(key.data());
    for (std::string& value : own.values) values.push_back(value.data());
    return tflite_plugin_create_delegate(keys.data(), values.data(), keys.size(), nullptr);
  } catch (...) {
    keep_last_error(status_of_current_exception());
    return nullptr;
  }
}

LiteRtStatus create(LiteRtRuntimeContext* runtime, LiteRtEnvironment*, const LiteRtAccelerator*, LiteRtOptions*,
                    LiteRtDelegateWrapper** wrapper) {
  if (!can_wrap(*runtime)) return kLiteRtStatusErrorWrongVersion;
  TfLiteDelegate* delegate = create_delegate_of_thread();
  if (delegate == nullptr) return kLiteRtStatusErrorRuntimeFailure;
  return runtime->wrap_delegate(delegate, tflite_plugin_destroy_delegate, wrapper);
}

}  // namespace

void set_accelerator_options(const char* const* keys, const char* const* values, size_t num_options) {
  options.get() = {{keys, keys + num_options}, {values, values + num_options}};
}

}  // namespace nq

const LiteRtAcceleratorDef LiteRtAcceleratorImpl = {{sizeof(LiteRtAcceleratorDef), 1, 0, 0},
                                                    nq::get_name,
                                                    nq::get_version,
                                                    nq::get_hardware_support,
                                                    nq::is_responsible_for_jit,
                                                    nq::create,
                                                    nullptr,
                                                    nullptr,
                                                    {}};
