#include "data/table_files.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "data/path_list.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy =
    "give the folder that save_to_disk or `flux_train preprocess` wrote, a pattern of such "
    "folders, .arrow files, or .parquet files and folders of them as the data set's path";

bool is_saved(const fs::path& folder) { return is_existing_path(folder / "state.json"); }

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

/// Training and test data of one set must not become one.
void refuse_splits(const fs::path& folder) {
    if (!fs::exists(folder / "dataset_dict.json")) {
        return;
    }
    std::vector<std::string> splits;
    for (const fs::path& entry : list_folder(folder)) {
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
    for (const fs::path& entry : list_folder(folder)) {
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

/// Rows of a file as state.json gives them where this program wrote it; nothing elsewhere.
std::optional<int64_t> stated_rows(const nlohmann::json& state, const std::string& name) {
    const auto entries = state.is_object() ? state.find("_data_files") : state.end();
    if (!state.is_object() || entries == state.end() || !entries->is_array()) {
        return std::nullopt;
    }
    for (const nlohmann::json& entry : *entries) {
        if (entry.is_object() && entry.value("filename", nlohmann::json()) == name &&
            entry.contains("rows") && entry.at("rows").is_number_integer()) {
            return entry.at("rows").get<int64_t>();
        }
    }
    return std::nullopt;
}

/// Rows of the split as dataset_info.json gives them, 0 if it does not. Other programs leave there
/// the number of the whole set when they store a part of it.
int64_t most_rows(const fs::path& folder, const nlohmann::json& state) {
    try {
        return read_json(folder / "dataset_info.json")
            .at("splits")
            .at(state.at("_split").get<std::string>())
            .at("num_examples")
            .get<int64_t>();
    } catch (const nlohmann::json::exception&) {
        return 0;
    }
}

struct SavedPart {
    nlohmann::json state;
    int64_t rows = 0;  // of its files in the table
};

/// A stream that was cut between two batches reads without any error.
void check_rows(const ArrowTable& table) {
    std::map<fs::path, SavedPart> folders;
    for (const auto& [file, rows] : table.contents()) {
        const fs::path folder = file.parent_path();
        if (!is_saved(folder)) {
            continue;
        }
        const auto [part, added] = folders.try_emplace(folder);
        if (added) {
            part->second.state = read_json(folder / "state.json");
        }
        part->second.rows += rows;
        const auto stated = stated_rows(part->second.state, file.filename().string());
        if (stated && *stated != rows) {
            fail(
                "{}: holds {} rows, state.json beside it says {}: it has lost its tail; copy the "
                "file again from where it came",
                file.string(), rows, *stated);
        }
    }
    for (const fs::path& file : table.without_end_mark()) {
        const auto part = folders.find(file.parent_path());
        if (part == folders.end() || !fs::exists(part->first / "dataset_info.json")) {
            continue;
        }
        if (const int64_t most = most_rows(part->first, part->second.state);
            part->second.rows < most) {
            fail(
                "{}: has no end mark, and dataset_info.json beside it speaks of {} rows, {} are "
                "here: it has lost its tail; copy the file again from where it came",
                file.string(), most, part->second.rows);
        }
    }
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

std::unique_ptr<ArrowTable> open_table(const std::string& path, std::vector<TableColumn> columns) {
    auto table = std::make_unique<ArrowTable>(find_table_files(path), std::move(columns));
    check_rows(*table);
    return table;
}

}  // namespace flux::data
