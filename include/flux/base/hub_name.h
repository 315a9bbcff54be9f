// Names of repositories on a Hugging Face server.
#pragma once

#include <string_view>

namespace flux {

/// Letters, digits, "-", "_" and ".", as a part of such a name: a file or folder name anywhere.
bool is_hub_name_part(std::string_view text);

/// Whether a value reads as "owner/name".
bool is_hub_name(std::string_view value);

}  // namespace flux
