// Single values: from TOML or a command-line text to a row's own type, with the row's checks, and
// back to text.
#pragma once

#include "config/options.h"

namespace flux::config {

/// The value in the row's own type. Throws ConfigError "<where>: must be ..." on a wrong type or a
/// value out of range.
Value convert(const Option& option, const Value& raw, std::string_view where);

/// A command-line text as a value for this row: no value for `none` or an empty text where the row
/// may be unset. A text that does not read as the row's type stays text, for convert() to refuse.
std::optional<Value> parse_text(const Option& option, std::string_view text);

/// true, false and their usual other spellings.
std::optional<bool> parse_bool(std::string_view text);

/// What the row takes: "an integer from 1 to 64", "one of joint, independent".
std::string describe_type(const Option& option);

/// As TOML writes it; "unset" for no value.
std::string to_text(const Value& value);
std::string to_text(const std::optional<Value>& value);

}  // namespace flux::config
