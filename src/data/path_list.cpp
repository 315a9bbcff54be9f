#include "data/path_list.h"

#include <glob.h>

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "data/brace_expand.h"
#include "flux/base/error.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

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

std::vector<fs::path> expand_item(const std::string& item, std::string_view remedy) {
    if (is_existing_path(item)) {
        return {item};
    }
    if (item.find_first_of("*?[") == std::string::npos) {
        fail_config("{}: no such file or folder; {}", item, remedy);
    }
    return glob_paths(item);
}

}  // namespace

bool is_existing_path(const std::string& item) {
    std::error_code problem;
    const bool there = fs::exists(item, problem);
    if (problem && problem != std::errc::filename_too_long) {
        fail_config("{}: cannot be looked at: {}; allow it to this user, or choose another path",
                    item, problem.message());
    }
    return there;
}

std::vector<fs::path> expand_path_list(const std::string& path, std::string_view remedy) {
    std::vector<fs::path> found;
    if (is_existing_path(path)) {
        found.emplace_back(path);
    } else {
        for (const std::string& item : split_list(path)) {
            const auto names = is_existing_path(item) ? std::vector{item} : expand_braces(item);
            for (const std::string& name : names) {
                const auto more = expand_item(name, remedy);
                found.insert(found.end(), more.begin(), more.end());
            }
        }
    }
    if (found.empty()) {
        fail_config("the data set's path is empty; {}", remedy);
    }
    std::unordered_set<std::string> known;  // two patterns may name the same file
    std::erase_if(found, [&](const fs::path& one) { return !known.insert(one.string()).second; });
    return found;
}

}  // namespace flux::data
