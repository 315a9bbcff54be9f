// Which files a tar data set's path names.
#include <algorithm>
#include <unordered_set>

#include "data/brace_expand.h"
#include "data/path_list.h"
#include "data/shard_names.h"
#include "flux/base/error.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> shards_in_folder(const fs::path& folder) {
    std::vector<fs::path> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (is_shard_name(entry.path().filename().string()) && entry.is_regular_file()) {
            found.push_back(entry.path());
        }
    }
    if (error) {
        fail_config("{}: the folder cannot be read: {}", folder.string(), error.message());
    }
    if (found.empty()) {
        fail_config("{}: the folder holds no tar shard (*.tar, *.tar.gz, *.tgz or *.tar.zst)",
                    folder.string());
    }
    std::sort(found.begin(), found.end());
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

std::vector<fs::path> find_shards(const std::string& path, const RemoteSettings& remote) {
    std::vector<fs::path> found;
    const std::vector<std::string> items = fs::exists(path) ? std::vector{path} : split_list(path);
    if (std::none_of(items.begin(), items.end(), is_remote)) {
        add_local(path, found);
    } else {
        for (const std::string& item : items) {
            if (is_remote(item)) {
                const std::vector<fs::path> fetched = fetch_shards(expand_braces(item), remote);
                found.insert(found.end(), fetched.begin(), fetched.end());
            } else {
                add_local(item, found);
            }
        }
    }
    std::unordered_set<std::string> known;  // a folder, and a shard in it
    std::erase_if(found,
                  [&](const fs::path& shard) { return !known.insert(shard.string()).second; });
    return found;
}

}  // namespace flux::data
