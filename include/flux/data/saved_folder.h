// A save_to_disk folder that is written file by file, by processes that may be killed at any time:
// which input rows go into which file is fixed beforehand, a file appears whole or not at all, and
// state.json, without which nobody takes the folder for a data set, comes last.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "flux/data/arrow_writer.h"

namespace flux::data {

struct SavedFolderPlan {
    std::vector<SavedColumn> columns;
    int64_t input_rows = 0;
    int64_t rows_per_file = 0;
    SavedCompression compression = SavedCompression::kNone;
    /// All else that fixes the contents, by name: work begun with other values is not gone on with.
    std::map<std::string, std::string> facts;
    std::string option{};  // that chooses the folder, for messages
};

class SavedFolder {
public:
    /// Begins the folder, or goes on with the work of a plan that is the same. Throws Error naming
    /// the difference, or what else lies in the folder.
    SavedFolder(std::filesystem::path folder, SavedFolderPlan plan);

    int64_t files() const;
    /// Input rows [first, second) of a file.
    std::pair<int64_t, int64_t> rows_of(int64_t file) const;
    bool is_written(int64_t file) const;
    /// Whether the whole folder is written.
    bool is_finished() const;
    /// Drops what a killed process left of the file. Only for who holds its lock.
    std::unique_ptr<ArrowWriter> writer(int64_t file) const;

    /// Opens all files, counts their rows, and writes the index. Returns the rows; fewer than the
    /// input has are those left out. Throws Error if a file is missing or holds too many rows, or
    /// if all hold fewer than `least_rows`.
    int64_t finish(int64_t least_rows = 0) const;

    /// Whether a plan lies in the folder.
    static bool is_begun(const std::filesystem::path& folder);

    /// A fact of the plan in a folder that was begun; nothing in any other.
    static std::optional<std::string> fact(const std::filesystem::path& folder,
                                           const std::string& name);

private:
    std::filesystem::path path_of(int64_t file) const;

    std::filesystem::path folder_;
    SavedFolderPlan plan_;
};

}  // namespace flux::data
