// How a model is divided between fused partitions and the runtime, and why: what nq_session_delegation tells.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nq.h"

namespace nq {

// One operator; nq_operator has the meaning of the fields.
struct OperatorPlace {
  std::string name, output;
  std::optional<std::string> weight;
  nq_place place = NQ_RUNTIME;
  std::string reason;  // empty where it is fused
};

struct Delegation {
  std::vector<OperatorPlace> operators;
  int num_partitions = 0;
};

}  // namespace nq
