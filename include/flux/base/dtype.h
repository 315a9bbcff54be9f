// Names of element types: the short ones of safetensors files ("BF16") and the long ones of
// configurations ("bfloat16"). One table serves both directions.
#pragma once

#include <c10/core/ScalarType.h>

#include <optional>
#include <string_view>

namespace flux {

/// "F32" -> kFloat; nothing for a name that is not one of F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32
/// I16 I8 U8 BOOL.
std::optional<c10::ScalarType> dtype_from_short_name(std::string_view name);

/// "float32" -> kFloat; nothing for an unknown name.
std::optional<c10::ScalarType> dtype_from_long_name(std::string_view name);

/// kFloat -> "F32". A type outside the table is a bug.
std::string_view short_name(c10::ScalarType dtype);

/// kFloat -> "float32". A type outside the table is a bug.
std::string_view long_name(c10::ScalarType dtype);

}  // namespace flux
