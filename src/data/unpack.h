// Streaming decompression of whole files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>

#include "flux/data/shard.h"

namespace flux::data {

/// By the first bytes.
Packing packing_of(std::span<const uint8_t> bytes);

/// Passes the unpacked bytes on in pieces. Throws Error naming the path and the place of damage.
void unpack(std::span<const uint8_t> in, Packing packing, const std::filesystem::path& path,
            const std::function<void(std::span<const uint8_t>)>& sink);

}  // namespace flux::data
