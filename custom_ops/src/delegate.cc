#include "delegate.h"

#include <cerrno>
#include <vector>

#include "nodes/unpack_node.h"
#include "session/precision.h"
#include "session/registry.h"

namespace nq {
namespace {

struct NqDelegate : TfLiteDelegate {
  NodeEnvironment environment;
};

struct Options {
  std::shared_ptr<Session> session;
  Precision precision;
};

Status parse_session(const char* text, std::shared_ptr<Session>* session) {
  char* end = nullptr;
  errno = 0;
  const unsigned long long handle = std::strtoull(text, &end, 10);
  const bool digits = *text >= '0' && *text <= '9';  // strtoull takes signs and spaces too
  if (!digits || *end != '\0' || errno != 0) {
    return error(NQ_INVALID_ARGUMENT, "option session=%s; expected the decimal value of nq_session_open", text);
  }
  return find_session(handle, session);
}

Status parse_options(const char* const* keys, const char* const* values, size_t num_options, Options* options) {
  for (size_t i = 0; i < num_options; ++i) {
    Status status;
    if (std::strcmp(keys[i], "session") == 0) {
      status = parse_session(values[i], &options->session);
    } else if (std::strcmp(keys[i], "precision") == 0) {
      status = parse_precision(values[i], &options->precision);
    } else {
      status = error(NQ_INVALID_ARGUMENT, "unknown option '%s'; expected session or precision", keys[i]);
    }
    if (!status.ok()) return status;
  }
  return {};
}

bool is_nested(const TfLiteNode& node, const TfLiteRegistration& registration) {
  return node.delegate == nullptr && registration.custom_name != nullptr &&
         std::strcmp(registration.custom_name, kCustomOpName) == 0;
}

// Claims change the runtime's plan, so all nodes are collected before the first claim.
TfLiteStatus find_nested_nodes(TfLiteContext* context, std::vector<int>* nodes) {
  TfLiteIntArray* plan = nullptr;
  if (context->GetExecutionPlan(context, &plan) != kTfLiteOk) return kTfLiteError;
  for (int i = 0; i < plan->size; ++i) {
    const int index = plan->data[i];
    TfLiteNode* node = nullptr;
    TfLiteRegistration* registration = nullptr;
    if (context->GetNodeAndRegistration(context, index, &node, &registration) != kTfLiteOk) return kTfLiteError;
    if (is_nested(*node, *registration)) nodes->push_back(index);
  }
  return kTfLiteOk;
}

// One claim a node: a claim of several would run them first of all, with every weight unpacked at once.
TfLiteStatus claim(TfLiteContext* context, int node, TfLiteDelegate* delegate) {
  TfLiteIntArray* nodes = new_int_array(1, &node);
  if (nodes == nullptr) return kTfLiteError;
  const TfLiteStatus status =
      context->ReplaceNodeSubsetsWithDelegateKernels(context, unpack_node_registration(), nodes, delegate);
  std::free(nodes);
  return status;
}

TfLiteStatus prepare(TfLiteContext* context, TfLiteDelegate* delegate) {
  try {
    static_cast<NqDelegate*>(delegate)->environment.session->model_loaded();
    std::vector<int> nodes;
    if (find_nested_nodes(context, &nodes) != kTfLiteOk) return kTfLiteError;
    for (const int node : nodes) {
      if (claim(context, node, delegate) != kTfLiteOk) return kTfLiteError;
    }
    return kTfLiteOk;
  } catch (...) {
    context->ReportError(context, "nq_tflite: %s\n", status_of_current_exception().message().c_str());
    return kTfLiteError;
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
  if (Status status = select_unpack_kernel(&created->environment.kernel); !status.ok()) return status;
  if (!options.session) options.session = std::make_shared<Session>();
  if (Status status = options.session->attach(options.precision); !status.ok()) return status;
  created->environment.session = std::move(options.session);
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
