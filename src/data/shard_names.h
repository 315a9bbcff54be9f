// Which file names are tar shards.
#pragma once

#include <string_view>

namespace flux::data {

/// *.tar, *.tar.gz, *.tgz and *.tar.zst
bool is_shard_name(std::string_view name);

}  // namespace flux::data
