// A shard's index on disk, so that a second start does not scan the shard again: every sample with
// its members and the picture's size. An index is good for the shard's size and time of change.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "flux/data/shard.h"
#include "flux/data/tar_index.h"

namespace flux::data {

/// Tells one state of a file from another.
struct FileStamp {
    uint64_t size_bytes = 0;
    int64_t changed_ns = 0;  // since the epoch of the system's clock
    bool operator==(const FileStamp&) const = default;
};
FileStamp stamp_of(const std::filesystem::path& path);

struct StoredIndex {
    Shard shard;
    TarIndex index;
};

/// Nothing if there is no such file, or it is damaged, of another version, or not of this stamp.
std::optional<StoredIndex> read_index_file(const std::filesystem::path& file,
                                           const std::filesystem::path& shard,
                                           const FileStamp& stamp);

/// Takes its name whole or not at all. Throws Error if it cannot be written.
void write_index_file(const std::filesystem::path& file, const Shard& shard, const TarIndex& index,
                      const FileStamp& stamp);

}  // namespace flux::data
