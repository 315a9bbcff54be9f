// Patterns over names, as shells have them: * is any text, ? one character, [ab] one of these.
#pragma once

#include <string>
#include <vector>

namespace flux {

/// Whether the whole of `name` is as `pattern` says; a dot is a character like any other.
bool matches_glob(const std::string& pattern, const std::string& name);

bool matches_any_glob(const std::vector<std::string>& patterns, const std::string& name);

}  // namespace flux
