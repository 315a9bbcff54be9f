// Paths as users write them for a data set: one path, a pattern, a range in
// braces, or a comma list of these.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace flux::data {

/// Whether an item is the path of something that exists. One too long for a path is none. Throws
/// ConfigError naming it where that cannot be told, as behind a folder that may not be entered.
bool is_existing_path(const std::string& item);

/// The existing files and folders that `path` names, those of a pattern in name order, each once. A
/// path that exists is taken as it is, since a name may hold commas. Throws Error, which ends with
/// `remedy`, for an item that names nothing.
std::vector<std::filesystem::path> expand_path_list(const std::string& path,
                                                    std::string_view remedy);

}  // namespace flux::data
