// Tar shards of small pictures of noise, so that shards have some size.
#pragma once

#include <fmt/core.h>

#include <filesystem>
#include <vector>

#include "data/tar_writer.h"
#include "flux/base/png.h"

namespace flux::data {

/// Pictures `first` to first + count - 1, each with its number as key and in its caption.
inline void write_noise_shard(const std::filesystem::path& path, int first, int count) {
    std::filesystem::create_directories(path.parent_path());
    TarWriter tar(path);
    for (int i = first; i < first + count; ++i) {
        std::vector<uint8_t> pixels(32 * 32 * 3);
        uint32_t state = static_cast<uint32_t>(i) + 1;
        for (uint8_t& value : pixels) {
            state = state * 1664525 + 1013904223;
            value = static_cast<uint8_t>(state >> 24);
        }
        tar.add(fmt::format("{:06}.png", i), flux::encode_png(ImageView{pixels.data(), 32, 32}));
        tar.add(fmt::format("{:06}.txt", i), fmt::format("picture {}", i));
    }
    tar.finish();
}

}  // namespace flux::data
