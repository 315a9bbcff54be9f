// Indexes of many shards, and reading of members that an index has found: for data sets and tools.
#pragma once

#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "flux/base/error.h"
#include "flux/data/shard_cache.h"
#include "flux/data/tar_index.h"

namespace flux::data {

struct IndexedShard {
    std::optional<Shard> shard;
    TarIndex index;
    std::string error;  // why there is no index
};

/// Indexes all shards, several at a time; what is wrong with one stands in its place. Throws
/// StorageError only: half of a shard must not pass for the shard. With an `index_folder`, indexes
/// of shards that are worth it are kept: beside the shard (.NAME.index), in the folder if nothing
/// can be written there.
std::vector<IndexedShard> index_shards(std::span<const std::filesystem::path> paths,
                                       ShardCache& cache, int threads,
                                       const std::filesystem::path& index_folder = {});

/// The bytes of a member, as a string or a vector of bytes.
template <class Bytes>
Bytes read_member(const ShardReader& reader, uint64_t offset, uint64_t size, uint64_t limit) {
    if (size > limit) {
        fail("a member of {} bytes, more than the limit of {}", size, limit);
    }
    Bytes bytes(size, {});
    const size_t count =
        reader.read_at(offset, {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()});
    if (count < size) {
        fail("the archive ends inside the sample");
    }
    return bytes;
}

}  // namespace flux::data
