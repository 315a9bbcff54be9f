#include "flux/data/object_store.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "data/arrow_objects.h"
#include "data/cache_file.h"
#include "data/download.h"
#include "data/shard_names.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/hash.h"
#include "flux/base/hub_name.h"
#include "flux/base/log.h"
#include "flux/base/parallel_for.h"
#include "flux/base/progress.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPipe = "pipe:";
constexpr std::string_view kRepository = "hf://";

/// The name of the file a URL means, which stays its name here: fingerprints count names.
std::string base_name(std::string_view item) {
    if (item.starts_with(kPipe)) {
        return "pipe.tar";
    }
    item = item.substr(0, item.find_first_of("?#"));
    const std::string name(item.substr(std::min(item.rfind('/') + 1, item.size())));
    return name.empty() || name == "." || name == ".." || name.size() > 200 ? "shard.tar" : name;
}

void check_cache_dir(const std::string& item, const RemoteSettings& settings) {
    if (settings.cache_dir.empty()) {
        fail("{}: no folder is set that could keep shards from the network: choose one with {}",
             item, settings.cache_option);
    }
    make_writable_folder(settings.cache_dir, "choose another with " + settings.cache_option);
}

/// The URLs of a repository's tar shards in name order. The list is kept like a shard: later starts
/// see the same data set.
std::vector<std::string> shards_of_repository(const std::string& item,
                                              const RemoteSettings& settings) {
    const std::string name = item.substr(kRepository.size());
    if (!is_hub_name(name)) {
        fail_config("{}: no name of a repository: must be hf://owner/name", item);
    }
    const std::string list_url = fmt::format("{}/api/datasets/{}", settings.endpoint, name);
    std::vector<std::string> urls;
    try {
        const nlohmann::json list =
            nlohmann::json::parse(read_text(fetch_shard(list_url, settings)));
        for (const nlohmann::json& entry : list.at("siblings")) {
            const auto file = entry.at("rfilename").get<std::string>();
            if (is_shard_name(file)) {
                urls.push_back(
                    fmt::format("{}/datasets/{}/resolve/main/{}", settings.endpoint, name, file));
            }
        }
    } catch (const nlohmann::json::exception& error) {
        fail("{}: no list of files: {}", list_url, error.what());
    }
    if (urls.empty()) {
        fail("{}: the repository holds no tar shard", item);
    }
    std::sort(urls.begin(), urls.end());
    return urls;
}

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

fs::path default_cache_dir() {
    if (const std::string folder = environment("FLUX_CACHE_DIR"); !folder.empty()) {
        return folder;
    }
    if (const fs::path caches = environment("XDG_CACHE_HOME"); caches.is_absolute()) {
        return caches / "flux_train";
    }
    const fs::path home = environment("HOME");
    return home.empty() ? home : home / ".cache" / "flux_train";
}

}  // namespace

RemoteSettings remote_settings_from_environment() {
    RemoteSettings settings;
    settings.cache_dir = default_cache_dir();
    settings.token = environment("HF_TOKEN");
    if (std::string endpoint = environment("HF_ENDPOINT"); !endpoint.empty()) {
        while (endpoint.ends_with('/')) {
            endpoint.pop_back();
        }
        settings.endpoint = endpoint;
    }
    settings.s3_endpoint = environment("AWS_ENDPOINT_URL_S3");
    if (settings.s3_endpoint.empty()) {
        settings.s3_endpoint = environment("AWS_ENDPOINT_URL");
    }
    settings.gs_endpoint = environment("STORAGE_EMULATOR_HOST");
    return settings;
}

bool is_remote(std::string_view item) {
    constexpr std::array<std::string_view, 6> kBeginnings{"http://", "https://",  "s3://",
                                                          "gs://",   kRepository, kPipe};
    return std::any_of(kBeginnings.begin(), kBeginnings.end(),
                       [&](std::string_view beginning) { return item.starts_with(beginning); });
}

std::vector<std::string> list_shards(std::span<const std::string> items,
                                     const RemoteSettings& settings) {
    std::vector<std::string> addresses;
    for (const std::string& item : items) {
        if (item.starts_with(kRepository) || is_object(item)) {
            check_cache_dir(item, settings);
            const std::vector<std::string> inside = is_object(item)
                                                        ? find_objects(item, settings)
                                                        : shards_of_repository(item, settings);
            addresses.insert(addresses.end(), inside.begin(), inside.end());
        } else {
            addresses.push_back(item);
        }
    }
    return addresses;
}

fs::path cached_path(const std::string& item, const RemoteSettings& settings) {
    const std::string identity = is_object(item) ? object_identity(item, settings) : item;
    return settings.cache_dir / fmt::format("{:016x}", fnv1a(identity)) / base_name(item);
}

fs::path fetch_shard(const std::string& item, const RemoteSettings& settings) {
    check_cache_dir(item, settings);
    fs::path path = cached_path(item, settings);
    CacheFile file(path, settings);
    if (!file.finished()) {
        if (item.starts_with(kPipe)) {
            spool(item.substr(kPipe.size()), file, settings);
        } else if (is_object(item)) {
            copy_object(item, file, settings);
        } else {
            download(item, file, settings);
        }
        file.commit();
    }
    return path;
}

std::vector<fs::path> fetch_shards(std::span<const std::string> addresses,
                                   const RemoteSettings& settings) {
    std::vector<fs::path> paths(addresses.size());
    if (addresses.empty()) {
        return paths;
    }
    log::info("{} remote shards are kept in {}; what is missing there is fetched first",
              addresses.size(), settings.cache_dir.string());
    Progress progress({.label = "fetch", .unit = "shards", .total = std::ssize(addresses)});
    std::atomic<int64_t> done{0};
    parallel_for(std::ssize(addresses), settings.downloads, [&](int64_t i) {
        const auto place = static_cast<size_t>(i);
        paths[place] = fetch_shard(addresses[place], settings);
        progress.update(++done);
    });
    progress.finish();
    return paths;
}

}  // namespace flux::data
