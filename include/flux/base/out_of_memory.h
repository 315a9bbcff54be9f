// Memory that ran out comes as std::bad_alloc or, from LibTorch, as a c10::Error.
#pragma once

#include <exception>

namespace flux {

bool is_out_of_memory(const std::exception& problem);

}  // namespace flux
