// How much a cache folder holds. It is measured now and then, since other processes fill it too;
// in between the files of this process are counted.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>

#include "flux/data/object_store.h"

namespace flux::data {

class CacheSpace {
public:
    explicit CacheSpace(std::filesystem::path folder) : folder_(std::move(folder)) {}

    /// That of a folder, one for all threads of the process.
    static CacheSpace& of(const std::filesystem::path& folder);

    /// Before so many bytes are written: takes out of a full cache what settings.make_room offers.
    /// Throws Error naming the remedy if that is not enough.
    void take(uint64_t bytes, const RemoteSettings& settings);
    /// Bytes that were taken and are no longer there.
    void give_back(uint64_t bytes);

private:
    void measure();

    std::filesystem::path folder_;
    std::mutex mutex_;
    uint64_t held_ = 0;
    std::optional<std::chrono::steady_clock::time_point> measured_;
};

}  // namespace flux::data
