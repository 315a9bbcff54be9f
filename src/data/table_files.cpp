#include "data/table_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/path_list.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy =
    "give the folder that save_to_disk or `flux_train preprocess` wrote, a pattern of such "
    "folders, .arrow files, or .parquet files and folders of them as the data set's path";

bool is_saved(const fs::path& folder) { return fs::exists(folder / "state.json"); }

nlohmann::json read_json(const fs::path& path) {
    try {
        return nlohmann::json::parse(read_text(path));
    } catch (const nlohmann::json::exception& error) {
        fail("{}: not valid JSON: {}; copy the file again from where it came", path.string(),
             error.what());
    }
}

/// A plain name, which cannot lead out of the folder.
fs::path data_file(const nlohmann::json& entry, const fs::path& state) {
    const auto name = entry.is_object() ? entry.find("filename") : entry.end();
    if (!entry.is_object() || name == entry.end() || !name->is_string()) {
        fail("{}: \"_data_files\" has an entry without \"filename\": {}", state.string(),
             entry.dump());
    }
    const fs::path file = name->get<std::string>();
    if (file.empty() || file != file.filename() || file == "." || file == "..") {
        fail("{}: \"_data_files\" names {}: must be a file in the same folder", state.string(),
             name->dump());
    }
    return file;
}

std::vector<fs::path> files_of_saved(const fs::path& folder) {
    const fs::path state = folder / "state.json";
    if (!fs::exists(folder / "dataset_info.json")) {
        fail("{}: has no dataset_info.json, which stands beside state.json in a complete copy",
             folder.string());
    }
    read_json(folder / "dataset_info.json");
    const nlohmann::json json = read_json(state);
    const auto entries = json.is_object() ? json.find("_data_files") : json.end();
    if (!json.is_object() || entries == json.end() || !entries->is_array() || entries->empty()) {
        fail("{}: has no list \"_data_files\"", state.string());
    }
    std::vector<fs::path> files;
    for (const nlohmann::json& entry : *entries) {
        files.push_back(folder / data_file(entry, state));
        if (!fs::exists(files.back())) {
            fail("{}: names {}, which does not exist; copy the missing file", state.string(),
                 files.back().filename().string());
        }
    }
    return files;
}

std::vector<fs::path> list(const fs::path& folder) {
    std::vector<fs::path> entries;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
        entries.push_back(entry.path());
    }
    if (error) {
        fail("{}: the folder cannot be read: {}", folder.string(), error.message());
    }
    std::sort(entries.begin(), entries.end());
    return entries;
}

/// Training and test data of one set must not become one.
void refuse_splits(const fs::path& folder) {
    if (!fs::exists(folder / "dataset_dict.json")) {
        return;
    }
    std::vector<std::string> splits;
    for (const fs::path& entry : list(folder)) {
        if (fs::is_directory(entry) && is_saved(entry)) {
            splits.push_back(entry.filename().string());
        }
    }
    if (splits.size() > 1) {
        fail("{}: holds the splits {}; give the folder of one of them", folder.string(),
             fmt::join(splits, ", "));
    }
}

std::vector<fs::path> files_in(const fs::path& folder) {
    if (is_saved(folder)) {
        return files_of_saved(folder);
    }
    refuse_splits(folder);
    std::vector<fs::path> files;
    bool has_arrow = false;
    for (const fs::path& entry : list(folder)) {
        if (entry.extension() == ".parquet") {
            files.push_back(entry);
        }
        has_arrow = has_arrow || entry.extension() == ".arrow";
        if (fs::is_directory(entry) && is_saved(entry)) {
            const auto more = files_of_saved(entry);
            files.insert(files.end(), more.begin(), more.end());
        }
    }
    if (files.empty()) {
        fail("{}: has no state.json, which names {}; {}", folder.string(),
             has_arrow ? "its .arrow files and their order: the copy is not complete"
                       : "the files of a stored data set",
             kRemedy);
    }
    return files;
}

}  // namespace

std::vector<fs::path> find_table_files(const std::string& path) {
    std::vector<fs::path> files;
    for (const fs::path& named : expand_path_list(path, kRemedy)) {
        if (fs::is_directory(named)) {
            const auto more = files_in(named);
            files.insert(files.end(), more.begin(), more.end());
        } else {
            files.push_back(named);
        }
    }
    return files;
}

}  // namespace flux::data
