// What the runtime calls on a node class, the same for all of them. No exception may reach the runtime.
#pragma once

#include "nq/format.h"
#include "operators/node_environment.h"
#include "tflite_abi.h"

namespace nq {

inline TfLiteStatus report(TfLiteContext* context, const Status& status) {
  if (status.ok()) return kTfLiteOk;
  keep_last_error(status);
  context->ReportError(context, "nq_tflite: %s\n", last_error());
  return kTfLiteError;
}

// Takes `shape` over; null if memory was short.
inline Status resize(TfLiteContext* context, int index, TfLiteIntArray* shape) {
  TfLiteTensor& tensor = context->tensors[index];
  if (shape == nullptr) return Status(NQ_SYSTEM, {});
  if (context->ResizeTensor(context, &tensor, shape) != kTfLiteOk) {
    return error(NQ_SYSTEM, "the runtime cannot give '%s' its shape", tensor.name == nullptr ? "" : tensor.name);
  }
  return {};
}

template <typename Node>
struct NodeCalls {
  static void* init(TfLiteContext* context, const char* buffer, size_t) {
    const auto* params = reinterpret_cast<const TfLiteDelegateParams*>(buffer);
    try {
      return new Node(context, *static_cast<const NodeEnvironment*>(params->delegate->data_), *params);
    } catch (...) {
      report(context, status_of_current_exception());
      return nullptr;
    }
  }

  static void free(TfLiteContext*, void* node) { delete static_cast<Node*>(node); }

  static TfLiteStatus prepare(TfLiteContext* context, TfLiteNode* node) {
    if (node->user_data == nullptr) return kTfLiteError;  // init has said why
    try {
      return report(context, static_cast<Node*>(node->user_data)->prepare(context));
    } catch (...) {
      return report(context, status_of_current_exception());
    }
  }

  static TfLiteStatus invoke(TfLiteContext* context, TfLiteNode* node) {
    try {
      static_cast<Node*>(node->user_data)->invoke(context);
      return kTfLiteOk;
    } catch (...) {
      return report(context, status_of_current_exception());
    }
  }
};

template <typename Node>
TfLiteRegistration node_registration(const char* name) {
  TfLiteRegistration registration = {};
  registration.init = NodeCalls<Node>::init;
  registration.free = NodeCalls<Node>::free;
  registration.prepare = NodeCalls<Node>::prepare;
  registration.invoke = NodeCalls<Node>::invoke;
  registration.builtin_code = kTfLiteBuiltinDelegate;
  registration.custom_name = name;
  registration.version = kCustomOpVersion;
  return registration;
}

}  // namespace nq
