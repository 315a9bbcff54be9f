// One file of a shard cache while it is being fetched: it grows under a temporary name over several
// attempts and program starts, and processes that want the same one wait for the first.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "flux/data/object_store.h"

namespace flux::data {

class CacheFile {
public:
    /// Waits for other processes that fetch the same file. `path` lies in settings.cache_dir. What
    /// an earlier start left without a validator is dropped: nothing could show that the rest is of
    /// the same version. `settings` must outlive it.
    CacheFile(std::filesystem::path path, const RemoteSettings& settings);
    ~CacheFile();
    CacheFile(const CacheFile&) = delete;
    CacheFile& operator=(const CacheFile&) = delete;

    /// The whole file is there, from this start or an earlier one.
    bool finished() const { return descriptor_ < 0; }
    /// What has come so far, and the validator (ETag) it came with.
    uint64_t size() const { return size_; }
    const std::string& validator() const { return validator_; }

    /// Drops what has come; `validator` is that of what comes next.
    void restart(const std::string& validator);
    /// Throws Error if the folder would become too large.
    void append(std::span<const char> bytes);
    void commit();

private:
    bool take_finished();
    void write_origin(uint64_t whole_size) const;

    std::filesystem::path path_, part_, origin_;
    const RemoteSettings& settings_;
    int descriptor_ = -1;
    uint64_t size_ = 0;
    std::string validator_;
};

/// Keeps a finished file in the cache as long as it lives.
class CacheLease {
public:
    explicit CacheLease(const std::filesystem::path& path);
    ~CacheLease();
    CacheLease(const CacheLease&) = delete;
    CacheLease& operator=(const CacheLease&) = delete;

    /// false: the file was taken out of the cache before.
    bool held() const { return descriptor_ >= 0; }

private:
    int descriptor_ = -1;
};

/// Takes a finished file out of the cache and returns its bytes; 0: it is not there, or somebody
/// holds it.
uint64_t evict_cached(const std::filesystem::path& path);

}  // namespace flux::data
