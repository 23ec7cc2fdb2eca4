// The delegate as an accelerator of LiteRT, whose CompiledModel asks for it by a struct of functions.
#pragma once

#include <cstddef>

namespace nq {

// Options of the delegates that LiteRT asks for on the calling thread from now on, as create_delegate() takes them.
void set_accelerator_options(const char* const* keys, const char* const* values, size_t num_options);

}  // namespace nq
