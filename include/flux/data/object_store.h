// Shards that are not on a local disk: http(s):// URLs, repositories of a Hugging Face server and
// the output of commands (pipe:). Each is fetched once, whole, into a cache folder and is a local
// shard from then on, so that order, substitutes and resume stay exact.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace flux::data {

struct RemoteSettings {
    std::filesystem::path cache_dir{};         // empty: remote shards are refused
    uint64_t cache_bytes = 2'000'000'000'000;  // most that the folder may hold
    int downloads = 4;                         // at a time
    int attempts = 10;                         // in a row that bring nothing
    int most_attempts = 1000;                  // for one shard
    double first_delay_s = 1;                  // between attempts, doubled up to
    double most_delay_s = 60;
    double stall_timeout_s = 60;                      // without data: the connection is broken
    std::string endpoint = "https://huggingface.co";  // of hf:// repositories
    std::string token{};                              // sent to the endpoint's host only
};

/// With HF_ENDPOINT and HF_TOKEN of the environment.
RemoteSettings remote_settings_from_environment();

/// http://, https://, hf:// or pipe:
bool is_remote(std::string_view item);

/// The local files of remote items, in order; an hf:// repository ("hf://owner/name") stands for
/// all its tar shards in name order. What the cache already holds is not fetched again. Throws
/// Error naming the URL if a shard cannot be had or the cache would grow too large.
std::vector<std::filesystem::path> fetch_shards(std::span<const std::string> items,
                                                const RemoteSettings& settings);

}  // namespace flux::data
