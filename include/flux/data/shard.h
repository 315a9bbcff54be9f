// One tar shard on a local disk. Compressed shards (.tar.gz, .tar.zst) are recognised by content
// and unpacked into memory while they are open, because samples are read at any offset; ShardCache
// bounds how much that takes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <utility>
#include <vector>

namespace flux::data {

enum class Packing { kNone, kGzip, kZstd };

/// A shard's file and what is known about it; holds neither the file nor its bytes.
class Shard {
public:
    /// Reads through a compressed file to learn its size. Throws Error naming the path and the
    /// reason; also for one that unpacks to more than `most_unpacked` bytes, as soon as it does.
    Shard(std::filesystem::path path, uint64_t most_unpacked);
    /// What an earlier look has told.
    Shard(std::filesystem::path path, Packing packing, uint64_t size)
        : path_(std::move(path)), packing_(packing), size_(size) {}

    const std::filesystem::path& path() const { return path_; }
    Packing packing() const { return packing_; }
    /// Size of the tar, unpacked.
    uint64_t size() const { return size_; }
    /// Memory that the open shard takes.
    uint64_t unpacked_bytes() const { return packing_ == Packing::kNone ? 0 : size_; }

private:
    std::filesystem::path path_;
    Packing packing_ = Packing::kNone;
    uint64_t size_ = 0;
};

/// An open shard; several threads may read it. Plain files are read with pread: a file that shrinks
/// under way is an Error, not a crash.
class ShardReader {
public:
    explicit ShardReader(Shard shard);
    ~ShardReader();
    ShardReader(const ShardReader&) = delete;
    ShardReader& operator=(const ShardReader&) = delete;

    const Shard& shard() const { return shard_; }

    /// Up to out.size() bytes from `offset` on; returns how many there were.
    size_t read_at(uint64_t offset, std::span<uint8_t> out) const;

private:
    const Shard shard_;
    int descriptor_ = -1;            // of a plain file
    std::vector<uint8_t> unpacked_;  // a compressed file's tar
};

}  // namespace flux::data
