// The samples of a webdataset shard, found in one pass that reads headers only: key, members and
// the picture's size. A key is the path up to the first dot of the base name, the rest is the
// extension.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "flux/data/image_decode.h"
#include "flux/data/shard.h"

namespace flux::data {

struct IndexedMember {
    std::string extension;  // lower case, "jpg"
    uint64_t offset = 0;
    uint64_t size = 0;
};

struct IndexedSample {
    std::string key;
    std::vector<IndexedMember> members;
    std::optional<PictureSize> picture;  // nothing: no picture, or its header does not tell
    std::string problem;                 // why the sample cannot be used; empty: none known

    const IndexedMember* member(std::string_view extension) const;
    /// The picture to use: png before jpg before the other formats.
    const IndexedMember* picture_member() const;
};

struct TarIndex {
    std::vector<IndexedSample> samples;  // in the order in which their first members appear
    std::string damage;  // what ended the pass early; the place also stands in `samples` as a
                         // sample with a problem
    bool has_end_mark = false;
};

/// Throws Error if nothing of the shard can be read, StorageError if reading fails anywhere.
TarIndex index_tar(const ShardReader& reader);

/// Splits a member's name; nothing for names that webdataset ignores (no extension, or a base name
/// that begins with "." or "__").
struct KeyAndExtension {
    std::string key;
    std::string extension;
};
std::optional<KeyAndExtension> split_member_name(std::string_view name);

}  // namespace flux::data
