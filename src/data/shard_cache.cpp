#include "flux/data/shard_cache.h"

#include "flux/base/error.h"

namespace flux::data {

void ShardCache::check_fits(const Shard& shard) const {
    if (shard.unpacked_bytes() > limits_.unpacked_bytes) {
        fail(
            "{}: the compressed shard unpacks to {} bytes; at most {} can be held in memory: "
            "repack it as plain .tar, or as several smaller shards",
            shard.path().string(), shard.unpacked_bytes(), limits_.unpacked_bytes);
    }
}

std::shared_ptr<const ShardReader> ShardCache::open(const Shard& shard) {
    check_fits(shard);
    const std::string path = shard.path().string();
    std::unique_lock lock(mutex_);
    for (;; changed_.wait(lock)) {
        if (const auto found = by_path_.find(path); found != by_path_.end()) {
            if (found->second->reader) {
                return lend(found->second);
            }
        } else if (make_room(shard.unpacked_bytes())) {
            break;
        }
    }
    // The place is taken before the work begins, so that threads unpack side by side within the
    // limits and no shard twice.
    entries_.push_front({path, shard.unpacked_bytes(), nullptr, 0});
    const auto entry = entries_.begin();
    by_path_[path] = entry;
    unpacked_bytes_ += entry->unpacked_bytes;
    lock.unlock();
    std::unique_ptr<const ShardReader> reader;
    try {
        reader = std::make_unique<ShardReader>(shard);
    } catch (...) {
        lock.lock();
        drop(entry);
        changed_.notify_all();
        throw;
    }
    lock.lock();
    entry->reader = std::move(reader);
    changed_.notify_all();
    return lend(entry);
}

/// Under the lock.
std::shared_ptr<const ShardReader> ShardCache::lend(Entries::iterator entry) {
    entries_.splice(entries_.begin(), entries_, entry);
    ++entry->users;
    return {entry->reader.get(), [this, entry](const ShardReader*) {
                const std::lock_guard lock(mutex_);
                if (--entry->users == 0) {
                    changed_.notify_all();
                }
            }};
}

/// Under the lock: closes what is not in use, the least recently used first, as far as needed.
bool ShardCache::make_room(uint64_t unpacked_bytes) {
    const auto fits = [&] {
        return entries_.size() < limits_.open_shards &&
               unpacked_bytes <= limits_.unpacked_bytes - unpacked_bytes_;
    };
    for (auto entry = entries_.end(); !fits() && entry != entries_.begin();) {
        --entry;
        if (entry->reader && entry->users == 0) {
            entry = drop(entry);
        }
    }
    return fits();
}

ShardCache::Entries::iterator ShardCache::drop(Entries::iterator entry) {
    unpacked_bytes_ -= entry->unpacked_bytes;
    by_path_.erase(entry->path);
    return entries_.erase(entry);
}

uint64_t ShardCache::unpacked_bytes() const {
    const std::lock_guard lock(mutex_);
    return unpacked_bytes_;
}

size_t ShardCache::open_shards() const {
    const std::lock_guard lock(mutex_);
    return entries_.size();
}

}  // namespace flux::data
