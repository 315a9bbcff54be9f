// One tar shard on a local disk. Compressed shards (.tar.gz, .tar.zst) are recognised by content
// and unpacked into memory, because samples are read at any offset.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace flux::data {

class Shard {
public:
    /// Throws Error naming the path and the reason.
    explicit Shard(std::filesystem::path path);

    const std::filesystem::path& path() const { return path_; }
    /// Size of the tar, unpacked.
    uint64_t size() const { return size_; }

private:
    friend class ShardReader;
    std::filesystem::path path_;
    uint64_t size_ = 0;
    std::vector<uint8_t> unpacked_;  // empty: the file itself is the tar
};

/// An open shard. Plain files are read with pread: a file that shrinks under way is an Error, not a
/// crash. Not for use by several threads at once.
class ShardReader {
public:
    explicit ShardReader(const Shard& shard);
    ~ShardReader();
    ShardReader(const ShardReader&) = delete;
    ShardReader& operator=(const ShardReader&) = delete;

    const Shard& shard() const { return shard_; }

    /// Up to out.size() bytes from `offset` on; returns how many there were.
    size_t read_at(uint64_t offset, std::span<uint8_t> out) const;

private:
    const Shard& shard_;
    int descriptor_ = -1;
};

}  // namespace flux::data
