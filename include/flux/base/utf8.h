// Is a text UTF-8?
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace flux {

/// Position of the first byte that begins no valid character (overlong forms, surrogates and values
/// above U+10FFFF are invalid); nothing if all is well.
std::optional<size_t> first_invalid_utf8(std::string_view text);

}  // namespace flux
