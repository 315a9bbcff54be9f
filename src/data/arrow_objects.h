// Shards in object stores, s3:// and gs://, through Arrow's file systems. Nothing of these is
// started before the first such address is used: the start takes a while.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/cache_file.h"
#include "flux/data/object_store.h"

namespace flux::data {

/// s3://bucket/key or gs://bucket/key; s3://anonymous@bucket/key for one that anybody may read.
bool is_object(std::string_view item);

/// What tells the address from the same one of another server.
std::string object_identity(const std::string& item, const RemoteSettings& settings);

/// The objects that an item names, by their addresses: one that ends with a shard's name is itself;
/// a pattern (* ? [..], none across a slash) stands for what matches it, and a folder for the
/// shards in it, in name order. Throws Error for one that names nothing.
std::vector<std::string> find_objects(const std::string& item, const RemoteSettings& settings);

/// Fetches an object into a cache file, as download() does. The credentials are those of the
/// usual environment variables and files of the store's own tools.
void copy_object(const std::string& item, CacheFile& file, const RemoteSettings& settings);

}  // namespace flux::data
