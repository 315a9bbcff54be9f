// Hashes that are part of a run's identity: they must never change.
#pragma once

#include <cstdint>
#include <string_view>

namespace flux {

/// 64-bit FNV-1a. Keys the random draws of things that are known by name: parameters, words.
constexpr uint64_t fnv1a(std::string_view text) {
    uint64_t hash = 0xCBF29CE484222325ull;
    for (const char c : text) {
        hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ull;
    }
    return hash;
}

}  // namespace flux
