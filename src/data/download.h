// Fetches one resource into a cache file, over as many attempts as it takes.
#pragma once

#include <string>

#include "data/cache_file.h"
#include "data/http_client.h"
#include "flux/data/object_store.h"

namespace flux::data {

/// Over http(s): goes on inside the file after a broken connection, begins anew when the resource
/// has changed, waits when the server is busy. Throws Error naming the URL when it gives up.
void download(const std::string& url, CacheFile& file, const RemoteSettings& settings);

/// Why what has come, `size` bytes in all, is not the whole resource; empty: it is.
std::string what_is_missing(const HttpReply& reply, uint64_t size);

/// The output of a shell command, which must end with status 0. Throws Error otherwise, and when
/// nothing comes for stall_timeout_s.
void spool(const std::string& command, CacheFile& file, const RemoteSettings& settings);

}  // namespace flux::data
