// Operators' names as TFLite's schema has them, for messages.
#pragma once

#include <string>

#include "tflite_abi.h"

namespace nq {

// "CONV_2D", or a custom operator's own name.
std::string operator_name(const TfLiteRegistration& registration);

}  // namespace nq
