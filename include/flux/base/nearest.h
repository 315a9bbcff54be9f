// "Did you mean ...?": the known name that a misspelt one is closest to.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace flux {

/// The name in `known` with the fewest edits (insert, remove, replace a character) from `name`;
/// nothing when even that one differs in more than a third of it.
std::optional<std::string> nearest(std::string_view name, std::span<const std::string> known);

/// "; did you mean x?", or nothing.
std::string did_you_mean(std::string_view name, std::span<const std::string> known);

}  // namespace flux
