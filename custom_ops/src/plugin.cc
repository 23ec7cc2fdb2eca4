// The library's C boundary: nq.h and TFLite's external delegate entry points. No exception passes it.
#include <algorithm>
#include <vector>

#include "accelerator.h"
#include "delegate.h"
#include "kernels/kernels.h"
#include "nq.h"
#include "per_thread.h"
#include "session/registry.h"

namespace {

using nq::Session;
using nq::Status;

// What the thread's last nq_session_delegation gave.
struct OperatorList {
  nq::Delegation delegation;
  std::vector<nq_operator> operators;
};
nq::PerThread<OperatorList> last_lists;
// What its last nq_session_profile gave.
struct LayerTimes {
  std::vector<nq::LayerTime> kept;
  std::vector<nq_layer_time> layers;
};
nq::PerThread<LayerTimes> last_profiles;
// And its last nq_kernels.
nq::PerThread<std::vector<nq_kernel>> last_kernels;

nq_status finish(const Status& status) noexcept {
  if (!status.ok()) nq::keep_last_error(status);
  return status.code();
}

template <typename Call>
nq_status guarded(const Call& call) noexcept {
  try {
    return finish(call());
  } catch (...) {
    return finish(nq::status_of_current_exception());
  }
}

template <typename Call>
nq_status with_session(nq_session handle, const Call& call) noexcept {
  return guarded([&] {
    std::shared_ptr<Session> session;
    if (Status status = nq::find_session(handle, &session); !status.ok()) return status;
    return call(*session);
  });
}

Status missing_result(const char* name) {
  return nq::error(NQ_INVALID_ARGUMENT, "%s is NULL; expected a pointer for the result", name);
}

}  // namespace

const char* nq_version(void) { return NQ_VERSION; }

int32_t nq_format_version(void) { return nq::kFormatMajor * 1000 + nq::kFormatMinor; }

const char* nq_isa(void) {
  nq::Kernels kernels;
  const nq_status status = guarded([&] { return nq::select_kernels(&kernels); });
  return status == NQ_OK ? kernels.gemm->isa : "";
}

nq_status nq_kernels(const nq_kernel** kernels, int32_t* count) {
  return guarded([&] {
    if (kernels == nullptr || count == nullptr) return missing_result(count == nullptr ? "count" : "kernels");
    nq::Kernels selected;
    if (Status status = nq::select_kernels(&selected); !status.ok()) return status;
    std::vector<nq_kernel>& last = last_kernels.get();
    last = {{"matrix", selected.gemm->isa},       {"depthwise", selected.depthwise->isa},
            {"unpack", selected.unpack->isa},     {"quantize", selected.quantize->isa},
            {"addition", selected.addition->isa}, {"elementwise", selected.elementwise->isa},
            {"checksum", selected.checksum->isa}};
    *kernels = last.data();
    *count = static_cast<int32_t>(last.size());
    return Status();
  });
}

nq_session nq_session_open(void) {
  nq_session handle = 0;
  guarded([&] {
    handle = nq::open_session();
    return Status();
  });
  return handle;
}

void nq_session_close(nq_session session) {
  guarded([&] {
    nq::close_session(session);
    return Status();
  });
}

nq_status nq_session_prepare(nq_session session) {
  return with_session(session, [](Session& found) { return found.prepare(); });
}

nq_status nq_session_levels(nq_session session, int32_t* count, int32_t* bits, int32_t capacity) {
  return with_session(session, [&](Session& found) {
    if (count == nullptr) return missing_result("count");
    nq::SectionTable table;
    if (Status status = found.levels(&table); !status.ok()) return status;
    *count = table.num_sections;
    for (int32_t k = 0; bits != nullptr && k < std::min(capacity, *count); ++k) bits[k] = table.sections[k].bits;
    return Status();
  });
}

nq_status nq_session_get_level(nq_session session, int32_t* level) {
  return with_session(session, [&](Session& found) {
    if (level == nullptr) return missing_result("level");
    return found.get_level(level);
  });
}

nq_status nq_session_set_level(nq_session session, int32_t level, uint32_t flags, nq_switch_result* result) {
  return with_session(session, [&](Session& found) {
    nq_switch_result switched = {};
    const Status status = found.set_level(level, flags, &switched);
    if (status.ok() && result != nullptr) *result = switched;
    return status;
  });
}

nq_status nq_session_memory(nq_session session, int32_t level, uint64_t* size, uint64_t* resident, int32_t* pageable) {
  return with_session(session, [&](Session& found) {
    Session::Memory memory;
    if (Status status = found.memory(level, &memory, resident != nullptr); !status.ok()) return status;
    if (size != nullptr) *size = memory.size;
    if (resident != nullptr) *resident = memory.resident;
    if (pageable != nullptr) *pageable = memory.pageable ? 1 : 0;
    return Status();
  });
}

nq_status nq_session_num_weights(nq_session session, int32_t* count) {
  return with_session(session, [&](Session& found) {
    if (count == nullptr) return missing_result("count");
    return found.num_weights(count);
  });
}

nq_status nq_session_delegation(nq_session session, const nq_operator** operators, int32_t* count,
                                int32_t* num_partitions) {
  return with_session(session, [&](Session& found) {
    if (operators == nullptr || count == nullptr) return missing_result(count == nullptr ? "count" : "operators");
    OperatorList list;
    if (Status status = found.delegation(&list.delegation); !status.ok()) return status;
    for (const nq::OperatorPlace& each : list.delegation.operators) {
      const char* weight = each.weight ? each.weight->c_str() : nullptr;
      const char* reason = each.place == NQ_FUSED ? nullptr : each.reason.c_str();
      list.operators.push_back({each.name.c_str(), each.output.c_str(), weight, reason, each.place});
    }
    OperatorList& last = last_lists.get();
    last = std::move(list);  // the strings stay where they are in memory
    *operators = last.operators.data();
    *count = static_cast<int32_t>(last.operators.size());
    if (num_partitions != nullptr) *num_partitions = last.delegation.num_partitions;
    return Status();
  });
}

nq_status nq_session_profile(nq_session session, int32_t level, const nq_layer_time** layers, int32_t* count) {
  return with_session(session, [&](Session& found) {
    if (layers == nullptr || count == nullptr) return missing_result(count == nullptr ? "count" : "layers");
    LayerTimes list;
    if (Status status = found.profile(level, &list.kept); !status.ok()) return status;
    for (const nq::LayerTime& each : list.kept) {
      const char* weight = each.weight ? each.weight->c_str() : nullptr;
      const nq::LayerTime::Times& times = each.times[static_cast<size_t>(level)];
      list.layers.push_back({each.name.c_str(), each.output.c_str(), weight, each.shape.data(),
                             static_cast<int32_t>(each.shape.size()), each.place, each.macs,
                             each.bytes[static_cast<size_t>(level)], times.invocations, times.nanoseconds,
                             times.least});
    }
    LayerTimes& last = last_profiles.get();
    last = std::move(list);  // the strings stay where they are in memory
    *layers = last.layers.data();
    *count = static_cast<int32_t>(last.layers.size());
    return Status();
  });
}

nq_status nq_session_reset_profile(nq_session session) {
  return with_session(session, [](Session& found) { return found.reset_profile(); });
}

nq_status nq_session_invocation_ended(nq_session session) {
  return with_session(session, [](Session& found) {
    found.invocation_ended();
    return Status();
  });
}

nq_status nq_accelerator_set_options(const char* const* keys, const char* const* values, size_t num_options) {
  nq::forget_last_error();
  return guarded([&] {
    nq::set_accelerator_options(keys, values, num_options);
    return Status();
  });
}

const char* nq_last_error(void) { return nq::last_error(); }

TfLiteDelegate* tflite_plugin_create_delegate(char** options_keys, char** options_values, size_t num_options,
                                              void (*report_error)(const char*)) {
  TfLiteDelegate* delegate = nullptr;
  const nq_status status =
      guarded([&] { return nq::create_delegate(options_keys, options_values, num_options, &delegate); });
  if (status != NQ_OK && report_error != nullptr) report_error(nq::last_error());
  return delegate;
}

void tflite_plugin_destroy_delegate(TfLiteDelegate* delegate) { nq::destroy_delegate(delegate); }
