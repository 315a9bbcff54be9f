// When to try again to fetch a resource, and when to give up: the same for every protocol.
#pragma once

#include <cstdint>
#include <string>

#include "data/cache_file.h"
#include "flux/data/object_store.h"

namespace flux::data {

/// Use: begin(), an attempt, and again as long as after_failure() returns.
class Retries {
public:
    Retries(std::string url, const CacheFile& file, const RemoteSettings& settings)
        : url_(std::move(url)), file_(file), settings_(settings) {}

    /// Before an attempt.
    void begin();

    /// After one that ended with `problem`: waits, doubling, at least `asked_s`. Throws Error after
    /// settings.attempts in a row that brought nothing.
    void after_failure(const std::string& problem, double asked_s = 0);

    /// Throws Error once settings.stop asks for it.
    void check_stop() const;

private:
    std::string url_;
    const CacheFile& file_;
    const RemoteSettings& settings_;
    uint64_t size_before_ = 0;
    int idle_ = 0;
    int attempts_ = 0;
};

}  // namespace flux::data
