// Tar shards of small pictures of noise, so that shards have some size, and how tests fetch them.
#pragma once

#include <fmt/core.h>

#include <filesystem>
#include <vector>

#include "data/tar_writer.h"
#include "flux/base/png.h"
#include "flux/data/object_store.h"

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

/// A few attempts without long waits.
inline RemoteSettings quick_remote(const std::filesystem::path& cache_dir) {
    return {.cache_dir = cache_dir,
            .downloads = 2,
            .attempts = 3,
            .first_delay_s = 0.01,
            .most_delay_s = 0.05,
            .stall_timeout_s = 5};
}

}  // namespace flux::data
