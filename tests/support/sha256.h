// SHA-256, with which the fixtures name pixels (FIPS 180-4).
#pragma once

#include <cstdint>
#include <span>
#include <string>

namespace flux::test {

/// In hexadecimal, lower case.
std::string sha256(std::span<const uint8_t> bytes);

}  // namespace flux::test
