// The kernel of one NQ_UNPACK_DEQUANT operator: writes its weight, and its bias where it has one, at every invocation.
#pragma once

#include <memory>

#include "kernels/unpack.h"
#include "session/session.h"
#include "tflite_abi.h"

namespace nq {

// What a delegate's data_ points to.
struct NodeEnvironment {
  std::shared_ptr<Session> session;
  const UnpackKernel* kernel = nullptr;
};

TfLiteRegistration unpack_node_registration();

}  // namespace nq
