#include "delegate.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "nodes/claims.h"
#include "nodes/graph.h"
#include "nodes/hidden_levels.h"
#include "nodes/node_calls.h"
#include "nodes/partition_node.h"
#include "nodes/shared_buffers.h"
#include "nodes/unpack_node.h"
#include "session/precision.h"
#include "session/registry.h"

namespace nq {
namespace {

struct NqDelegate : TfLiteDelegate {
  NodeEnvironment environment;
  const char* unfused = nullptr;  // why nothing is fused; null if fusing is on
};

enum class Fuse { kAuto, kAlways, kNever };

struct Options {
  std::shared_ptr<Session> session;
  Precision precision;
  Fuse fuse = Fuse::kAuto;
  int num_threads = 0;
  bool profile = false;
};

constexpr int kMaxThreads = 1024;

// A decimal number without sign or spaces, which strtoull takes; false for anything else.
bool parse_number(const char* text, unsigned long long* number) {
  char* end = nullptr;
  errno = 0;
  *number = std::strtoull(text, &end, 10);
  return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0;
}

Status parse_session(const char* text, std::shared_ptr<Session>* session) {
  unsigned long long handle = 0;
  if (!parse_number(text, &handle)) {
    return error(NQ_INVALID_ARGUMENT, "option session=%s; expected the decimal value of nq_session_open", text);
  }
  return find_session(handle, session);
}

Status parse_fuse(const char* text, Fuse* fuse) {
  if (std::strcmp(text, "auto") == 0)
    *fuse = Fuse::kAuto;
  else if (std::strcmp(text, "1") == 0)
    *fuse = Fuse::kAlways;
  else if (std::strcmp(text, "0") == 0)
    *fuse = Fuse::kNever;
  else
    return error(NQ_INVALID_ARGUMENT, "option fuse=%s; expected auto, 1 (always) or 0 (never)", text);
  return {};
}

Status parse_num_threads(const char* text, int* num_threads) {
  unsigned long long number = 0;
  if (!parse_number(text, &number) || number > kMaxThreads) {
    return error(NQ_INVALID_ARGUMENT, "option num_threads=%s; expected 0 (as the runtime says) to %d", text,
                 kMaxThreads);
  }
  *num_threads = static_cast<int>(number);
  return {};
}

Status parse_profile(const char* text, bool* profile) {
  if (std::strcmp(text, "0") != 0 && std::strcmp(text, "1") != 0) {
    return error(NQ_INVALID_ARGUMENT, "option profile=%s; expected 1 (keep the times of layers) or 0", text);
  }
  *profile = *text == '1';
  return {};
}

// The scalar kernels are there to be tested against: a CPU without better ones is served best by the runtime's.
const char* why_unfused(Fuse fuse, const GemmKernel& kernel) {
  if (fuse == Fuse::kNever) return "fusing is off";
  const bool scalar = std::strcmp(kernel.isa, "scalar") == 0;
  return fuse == Fuse::kAuto && scalar ? "the fused kernels of this CPU are scalar, slower than the runtime's"
                                       : nullptr;
}

Status parse_options(const char* const* keys, const char* const* values, size_t num_options, Options* options) {
  for (size_t i = 0; i < num_options; ++i) {
    Status status;
    if (std::strcmp(keys[i], "session") == 0) {
      status = parse_session(values[i], &options->session);
    } else if (std::strcmp(keys[i], "precision") == 0) {
      status = parse_precision(values[i], &options->precision);
    } else if (std::strcmp(keys[i], "fuse") == 0) {
      status = parse_fuse(values[i], &options->fuse);
    } else if (std::strcmp(keys[i], "num_threads") == 0) {
      status = parse_num_threads(values[i], &options->num_threads);
    } else if (std::strcmp(keys[i], "profile") == 0) {
      status = parse_profile(values[i], &options->profile);
    } else {
      status = error(NQ_INVALID_ARGUMENT,
                     "unknown option '%s'; expected session, precision, fuse, num_threads or profile", keys[i]);
    }
    if (!status.ok()) return status;
  }
  return {};
}

TfLiteStatus claim(TfLiteContext* context, const std::vector<int>& indices, const TfLiteRegistration& registration,
                   TfLiteDelegate* delegate) {
  const NodeIndices nodes = node_indices(indices);
  return context->ReplaceNodeSubsetsWithDelegateKernels(context, registration, nodes.get(), delegate);
}

// The nodes that the runtime has made of the fused claim.
bool count_partitions(TfLiteContext* context, const TfLiteDelegate* delegate, int* count) {
  std::vector<GraphNode> nodes;
  if (!read_graph(context, &nodes)) return false;
  *count = static_cast<int>(std::count_if(nodes.begin(), nodes.end(), [&](const GraphNode& entry) {
    return entry.node->delegate == delegate && entry.registration->invoke == partition_node_registration().invoke;
  }));
  return true;
}

// What runs under this runtime with the options that its interpreter has.
bool plan(TfLiteContext* context, const NqDelegate& nested, Claims* claims) {
  const Kernels& kernels = nested.environment.kernels;
  if (!plan_claims(context, kernels, nested.unfused, claims)) return false;
  if (stay_together(context, *claims)) return true;
  *claims = {};
  return plan_claims(context, kernels, "an option of the runtime parts its operators", claims);
}

TfLiteStatus prepare(TfLiteContext* context, TfLiteDelegate* delegate) {
  try {
    const auto& nested = *static_cast<NqDelegate*>(delegate);
    Session& session = *nested.environment.session;
    session.model_loaded();
    if (const Status status = check_order(context); !status.ok()) return report(context, status);
    if (const Status status = show_hidden_levels(context); !status.ok()) return report(context, status);
    Claims claims;
    if (!plan(context, nested, &claims)) return kTfLiteError;
    for (const int node : claims.unpacked) {
      if (claim(context, {node}, unpack_node_registration(), delegate) != kTfLiteOk) return kTfLiteError;
    }
    if (!claims.fused.empty() && claim(context, claims.fused, partition_node_registration(), delegate) != kTfLiteOk) {
      return kTfLiteError;
    }
    Delegation delegation{std::move(claims.operators), 0};
    if (!count_partitions(context, delegate, &delegation.num_partitions)) return kTfLiteError;
    session.set_delegation(context, std::move(delegation));
    return keep_buffers_apart(context) ? kTfLiteOk : kTfLiteError;
  } catch (...) {
    return report(context, status_of_current_exception());
  }
}

}  // namespace

Status create_delegate(const char* const* keys, const char* const* values, size_t num_options,
                       TfLiteDelegate** delegate) {
  Options options;
  if (Status status = parse_options(keys, values, num_options, &options); !status.ok()) return status;
  auto created = std::make_unique<NqDelegate>();
  created->data_ = &created->environment;
  created->Prepare = prepare;
  created->flags = kTfLiteDelegateFlagsAllowDynamicTensors;
  NodeEnvironment& environment = created->environment;
  if (Status status = select_kernels(&environment.kernels); !status.ok()) return status;
  created->unfused = why_unfused(options.fuse, *environment.kernels.gemm);
  environment.threads = std::make_shared<ThreadPool>();
  environment.num_threads = options.num_threads;
  environment.profile = options.profile;
  environment.arena = std::make_shared<Workspace>();
  environment.padding = std::make_shared<PaddingRow>();
  if (!options.session) options.session = std::make_shared<Session>();
  if (Status status = options.session->attach(options.precision, *environment.kernels.checksum); !status.ok())
    return status;
  if (options.profile) options.session->keep_times();
  environment.session = std::move(options.session);
  *delegate = created.release();
  return {};
}

void destroy_delegate(TfLiteDelegate* delegate) {
  if (delegate == nullptr) return;
  auto* nested = static_cast<NqDelegate*>(delegate);
  nested->environment.session->detach();
  delete nested;
}

}  // namespace nq
