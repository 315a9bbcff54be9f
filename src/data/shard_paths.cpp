// Which files a tar data set's path names.
#include <algorithm>
#include <iterator>
#include <unordered_set>
#include <utility>

#include "data/brace_expand.h"
#include "data/path_list.h"
#include "data/shard_names.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> shards_in_folder(const fs::path& folder) {
    std::error_code problem;
    std::vector<fs::path> found = list_folder(folder, problem);
    if (problem) {
        fail_config("{}: the folder cannot be read: {}", folder.string(), problem.message());
    }
    std::erase_if(found, [](const fs::path& path) {
        std::error_code broken_link;
        return !is_shard_name(path.filename().string()) || !fs::is_regular_file(path, broken_link);
    });
    if (found.empty()) {
        fail_config("{}: the folder holds no tar shard (*.tar, *.tar.gz, *.tgz or *.tar.zst)",
                    folder.string());
    }
    return found;
}

/// The shards that local items name.
void add_local(const std::string& items, std::vector<fs::path>& found) {
    for (const fs::path& named :
         expand_path_list(items,
                          "give the folder of the tar shards, a file, a pattern (*.tar) or a range "
                          "({0000..0031}) as the data set's path")) {
        if (fs::is_directory(named)) {
            const std::vector<fs::path> inside = shards_in_folder(named);
            found.insert(found.end(), inside.begin(), inside.end());
        } else {
            found.push_back(named);
        }
    }
}

}  // namespace

std::vector<std::string> name_shards(const std::string& path, const RemoteSettings& remote) {
    std::vector<fs::path> local;
    const std::vector<std::string> items =
        !is_remote(path) && is_existing_path(path) ? std::vector{path} : split_list(path);
    std::vector<std::string> named;
    const auto take_local = [&] {
        for (const fs::path& shard : std::exchange(local, {})) {
            named.push_back(shard.string());
        }
    };
    if (std::none_of(items.begin(), items.end(), is_remote)) {
        add_local(path, local);
        take_local();
    } else {
        for (const std::string& item : items) {
            if (is_remote(item)) {
                const std::vector<std::string> inside = list_shards(expand_braces(item), remote);
                named.insert(named.end(), inside.begin(), inside.end());
            } else {
                add_local(item, local);
                take_local();
            }
        }
    }
    std::unordered_set<std::string> known;  // a folder, and a shard in it
    std::erase_if(named, [&](const std::string& shard) { return !known.insert(shard).second; });
    return named;
}

std::vector<fs::path> bring_shards(std::span<const std::string> named,
                                   const RemoteSettings& remote) {
    std::vector<std::string> addresses;
    std::copy_if(named.begin(), named.end(), std::back_inserter(addresses), is_remote);
    const std::vector<fs::path> fetched = fetch_shards(addresses, remote);
    auto next = fetched.begin();
    std::vector<fs::path> paths;
    for (const std::string& name : named) {
        paths.push_back(is_remote(name) ? *next++ : fs::path(name));
    }
    return paths;
}

std::vector<fs::path> find_shards(const std::string& path, const RemoteSettings& remote) {
    return bring_shards(name_shards(path, remote), remote);
}

}  // namespace flux::data
