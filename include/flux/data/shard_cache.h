// The shards that a data set has open: the least recently used are closed to keep within bounds of
// memory and of file descriptors. A global shuffle asks for any shard at any time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "flux/data/shard.h"

namespace flux::data {

inline constexpr uint64_t kUnpackedShardBytes = uint64_t{2} << 30;
inline constexpr size_t kOpenShards = 256;

struct ShardLimits {
    uint64_t unpacked_bytes = kUnpackedShardBytes;  // of all open compressed shards together
    size_t open_shards = kOpenShards;
};

/// Safe to use from several threads.
class ShardCache {
public:
    explicit ShardCache(const ShardLimits& limits) : limits_(limits) {}
    ShardCache(const ShardCache&) = delete;
    ShardCache& operator=(const ShardCache&) = delete;

    const ShardLimits& limits() const { return limits_; }

    /// Throws Error if the shard alone is larger than the limit.
    void check_fits(const Shard& shard) const;

    /// The open shard, which stays open as long as the pointer lives. Waits while shards in use
    /// leave no room, so a thread must hold no more than one; none may outlive the cache.
    std::shared_ptr<const ShardReader> open(const Shard& shard);

    /// Memory taken by unpacked shards, and the number of open ones; both never above the limits.
    uint64_t unpacked_bytes() const;
    size_t open_shards() const;

private:
    struct Entry {
        std::string path;
        uint64_t unpacked_bytes = 0;
        std::unique_ptr<const ShardReader> reader;  // none: a thread is opening it
        int users = 0;
    };
    using Entries = std::list<Entry>;

    std::shared_ptr<const ShardReader> lend(Entries::iterator entry);
    bool make_room(uint64_t unpacked_bytes);
    Entries::iterator drop(Entries::iterator entry);

    const ShardLimits limits_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    Entries entries_;  // the most recently used first
    std::unordered_map<std::string, Entries::iterator> by_path_;
    uint64_t unpacked_bytes_ = 0;
};

}  // namespace flux::data
