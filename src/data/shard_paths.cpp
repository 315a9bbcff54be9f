// Which files a data set's path names.
#include <glob.h>

#include <algorithm>
#include <array>
#include <memory>
#include <unordered_set>

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

std::vector<fs::path> glob_paths(const std::string& pattern) {
    glob_t result{};
    const int status = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &result);
    const std::unique_ptr<glob_t, decltype(&globfree)> guard(&result, globfree);
    if (status == GLOB_NOMATCH) {
        fail_config("{}: no file fits this pattern", pattern);
    }
    if (status != 0) {
        fail_config("{}: the pattern cannot be expanded (a folder in it is not readable)", pattern);
    }
    std::vector<fs::path> found(result.gl_pathv, result.gl_pathv + result.gl_pathc);
    std::sort(found.begin(), found.end());
    return found;
}

void add_shards(const std::string& item, std::vector<fs::path>& out) {
    const bool exists = fs::exists(item);
    const bool is_pattern = item.find_first_of("*?[") != std::string::npos;
    if (!exists && !is_pattern) {
        fail_config(
            "{}: no such file or folder; give the folder of the tar shards, a file or a pattern "
            "(*.tar) as the data set's path",
            item);
    }
    for (const fs::path& path : exists ? std::vector<fs::path>{item} : glob_paths(item)) {
        if (fs::is_directory(path)) {
            const std::vector<fs::path> inside = shards_in_folder(path);
            out.insert(out.end(), inside.begin(), inside.end());
        } else {
            out.push_back(path);
        }
    }
}

}  // namespace

std::vector<fs::path> find_shards(const std::string& path) {
    std::vector<fs::path> found;
    if (fs::exists(path)) {  // a name may hold commas
        add_shards(path, found);
    } else {
        for (size_t begin = 0; begin <= path.size();) {
            const size_t comma = std::min(path.find(',', begin), path.size());
            if (comma > begin) {
                add_shards(path.substr(begin, comma - begin), found);
            }
            begin = comma + 1;
        }
    }
    if (found.empty()) {
        fail_config("the data set's path is empty: give the folder of its tar shards");
    }
    std::unordered_set<std::string> known;  // two patterns may name the same file
    std::erase_if(found,
                  [&](const fs::path& shard) { return !known.insert(shard.string()).second; });
    return found;
}

}  // namespace flux::data
