// The Hugging Face cache folder on this machine.
#pragma once

#include <filesystem>
#include <string_view>

namespace flux::encoders {

std::filesystem::path hub_cache();

/// Whether a value reads as "organisation/name".
bool is_repository(std::string_view value);

}  // namespace flux::encoders
