// The Hugging Face cache folder on this machine.
#pragma once

#include <filesystem>

namespace flux::encoders {

std::filesystem::path hub_cache();

}  // namespace flux::encoders
