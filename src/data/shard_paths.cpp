// Which files a tar data set's path names.
#include <algorithm>
#include <array>
#include <unordered_set>

#include "data/path_list.h"
#include "flux/base/error.h"
#include "flux/data/webdataset.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kShardEndings = {".tar", ".tar.gz", ".tgz", ".tar.zst"};

bool is_shard_name(const fs::path& path) {
    const std::string name = path.filename().string();
    return std::any_of(kShardEndings.begin(), kShardEndings.end(),
                       [&](std::string_view ending) { return name.ends_with(ending); });
}

std::vector<fs::path> shards_in_folder(const fs::path& folder) {
    std::vector<fs::path> found;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        if (is_shard_name(entry.path()) && entry.is_regular_file()) {
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

}  // namespace

std::vector<fs::path> find_shards(const std::string& path) {
    std::vector<fs::path> found;
    for (const fs::path& named : expand_path_list(
             path,
             "give the folder of the tar shards, a file or a pattern (*.tar) as the data set's "
             "path")) {
        if (fs::is_directory(named)) {
            const std::vector<fs::path> inside = shards_in_folder(named);
            found.insert(found.end(), inside.begin(), inside.end());
        } else {
            found.push_back(named);
        }
    }
    std::unordered_set<std::string> known;  // a folder, and a shard in it
    std::erase_if(found,
                  [&](const fs::path& shard) { return !known.insert(shard.string()).second; });
    return found;
}

}  // namespace flux::data
