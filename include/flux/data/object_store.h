// Shards that are not on a local disk: http(s):// URLs, objects of s3:// and gs:// stores,
// repositories of a Hugging Face server and the output of commands (pipe:). Each is fetched once,
// whole, into a cache folder and is a local shard from then on, so that order, substitutes and
// resume stay exact.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

namespace flux::data {

struct RemoteSettings {
    std::filesystem::path cache_dir{};                    // empty: remote shards are refused
    std::string cache_option = "--dataloader.cache_dir";  // that chooses it
    uint64_t cache_bytes = 2'000'000'000'000;             // most that the folder may hold
    int downloads = 4;                                    // at a time
    int attempts = 10;                                    // in a row that bring nothing
    int most_attempts = 1000;                             // for one shard
    double first_delay_s = 1;                             // between attempts, doubled up to
    double most_delay_s = 60;
    double stall_timeout_s = 60;                      // without data: the connection is broken
    std::string endpoint = "https://huggingface.co";  // of hf:// repositories
    std::string token{};                              // sent to the endpoint's host only
    std::string s3_endpoint{};                        // "http://host:port"; empty: Amazon's
    std::string gs_endpoint{};                        // of an emulator; empty: Google's
    std::function<uint64_t()> make_room{};  // takes something out of a full cache: its bytes, or 0
    std::stop_token stop{};                 // ends fetching with an Error
};

/// With HF_ENDPOINT, HF_TOKEN, AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL and STORAGE_EMULATOR_HOST of
/// the environment. Runs share one cache folder: FLUX_CACHE_DIR, else flux_train in XDG_CACHE_HOME
/// or in HOME/.cache; empty where none of the three is set.
RemoteSettings remote_settings_from_environment();

/// http://, https://, s3://, gs://, hf:// or pipe:
bool is_remote(std::string_view item);

/// The addresses of the shards that remote items name, in order: an hf:// repository
/// ("hf://owner/name") stands for all its tar shards in name order, so does a folder or pattern of
/// an object store for its. Fetches lists only. Throws Error for an item that names nothing.
std::vector<std::string> list_shards(std::span<const std::string> items,
                                     const RemoteSettings& settings);

/// The local file of one address. What the cache already holds is not fetched again. Throws Error
/// naming the URL if the shard cannot be had or the cache would grow too large.
std::filesystem::path fetch_shard(const std::string& address, const RemoteSettings& settings);

/// Where that file is, or will be.
std::filesystem::path cached_path(const std::string& address, const RemoteSettings& settings);

/// The local files of several, fetched side by side.
std::vector<std::filesystem::path> fetch_shards(std::span<const std::string> addresses,
                                                const RemoteSettings& settings);

/// Ends the libraries that s3:// and gs:// addresses have started, for good. Their threads must not
/// outlive main(): static objects that they use go after it.
void close_object_stores();

}  // namespace flux::data
