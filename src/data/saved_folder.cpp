#include "flux/data/saved_folder.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/arrow_table.h"
#include "data/fingerprint.h"
#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlanFile = "preprocess.json";

using Facts = std::map<std::string, std::string>;

/// The plan as the folder keeps it.
Facts facts_of(const SavedFolderPlan& plan) {
    Facts facts = plan.facts;
    facts["input_rows"] = std::to_string(plan.input_rows);
    facts["rows_per_file"] = std::to_string(plan.rows_per_file);
    facts["compression"] = plan.compression == SavedCompression::kZstd ? "zstd" : "none";
    std::string columns;
    for (const SavedColumn& column : plan.columns) {
        columns += (columns.empty() ? "" : ", ") + column.name;
    }
    facts["columns"] = columns;
    return facts;
}

std::optional<Facts> read_facts(const fs::path& folder) {
    const fs::path file = folder / kPlanFile;
    if (!fs::exists(file)) {
        return std::nullopt;
    }
    try {
        return nlohmann::json::parse(read_text(file)).get<Facts>();
    } catch (const nlohmann::json::exception& error) {
        fail("{}: damaged: {}; remove the folder and begin anew", file.string(), error.what());
    }
}

void check_same(const fs::path& folder, const std::string& option, const Facts& begun,
                const Facts& wanted) {
    const auto value = [](const Facts& facts, const std::string& name) {
        const auto found = facts.find(name);
        return found == facts.end() ? std::string("unset") : found->second;
    };
    Facts names = begun;
    names.insert(wanted.begin(), wanted.end());
    for (const auto& [name, unused] : names) {
        if (value(begun, name) != value(wanted, name)) {
            fail(
                "{}: was begun with {} = {}, now it is {}; go on with the same options and data, "
                "or choose another {}",
                folder.string(), name, value(begun, name), value(wanted, name), option);
        }
    }
}

/// What a kill before the plan was written may leave; anything else is not ours.
void check_unused(const fs::path& folder, const std::string& option) {
    for (const fs::path& entry : list_folder(folder)) {
        const std::string name = entry.filename().string();
        if (name != ".lock" && unfinished_name(name) != kPlanFile &&
            !name.starts_with(".write_probe.")) {
            fail("{}: holds {}, and no such work was begun there; choose another {}",
                 folder.string(), name, option);
        }
    }
}

}  // namespace

SavedFolder::SavedFolder(fs::path folder, SavedFolderPlan plan)
    : folder_(std::move(folder)), plan_(std::move(plan)) {
    TORCH_CHECK(plan_.input_rows >= 1 && plan_.rows_per_file >= 1, "an empty plan");
    const Facts wanted = facts_of(plan_);
    if (const auto begun = read_facts(folder_)) {
        check_same(folder_, plan_.option, *begun, wanted);
        return;
    }
    check_unused(folder_, plan_.option);
    write_text(folder_ / kPlanFile, nlohmann::json(wanted).dump(2));
}

int64_t SavedFolder::files() const {
    return (plan_.input_rows + plan_.rows_per_file - 1) / plan_.rows_per_file;
}

std::pair<int64_t, int64_t> SavedFolder::rows_of(int64_t file) const {
    const int64_t first = file * plan_.rows_per_file;
    return {first, std::min(first + plan_.rows_per_file, plan_.input_rows)};
}

fs::path SavedFolder::path_of(int64_t file) const {
    return folder_ / saved_file_name(file, files());
}

bool SavedFolder::is_written(int64_t file) const { return fs::exists(path_of(file)); }

bool SavedFolder::is_finished() const { return fs::exists(folder_ / "state.json"); }

std::unique_ptr<ArrowWriter> SavedFolder::writer(int64_t file) const {
    remove_unfinished(path_of(file));
    return std::make_unique<ArrowWriter>(path_of(file), plan_.columns, plan_.compression);
}

int64_t SavedFolder::finish(int64_t least_rows) const {
    std::vector<fs::path> paths;
    for (int64_t i = 0; i < files(); ++i) {
        paths.push_back(path_of(i));
    }
    const ArrowTable table(paths, {});
    // Fewer rows than planned are those left out, but only where the file is as it was written.
    for (const fs::path& cut : table.without_end_mark()) {
        fail("{}: has no end mark: it has lost rows; remove the file and run again", cut.string());
    }
    std::vector<SavedFile> written;
    Fingerprint fingerprint("saved");
    for (const auto& [path, rows] : table.contents()) {
        const auto [first, end] = rows_of(static_cast<int64_t>(written.size()));
        if (rows > end - first) {
            fail("{}: holds {} rows of {} input rows; remove the file and run again", path.string(),
                 rows, end - first);
        }
        fingerprint.add(static_cast<uint64_t>(rows));
        written.push_back(
            {path.filename().string(), rows, static_cast<int64_t>(fs::file_size(path))});
    }
    if (table.rows() < least_rows) {
        fail(
            "{}: {} of {} input rows were bad and left out; at least {} must be there "
            "(training.max_bad_fraction): repair the input and begin in a new folder, or raise "
            "training.max_bad_fraction",
            folder_.string(), plan_.input_rows - table.rows(), plan_.input_rows, least_rows);
    }
    for (const auto& [name, value] : facts_of(plan_)) {
        fingerprint.add(name).add(value);
    }
    for (const fs::path& entry : list_folder(folder_)) {  // all is written, and by nobody else now
        if (!unfinished_name(entry.filename().native()).empty()) {
            fs::remove(entry);
        }
    }
    write_saved_index(folder_, plan_.columns, written, fingerprint.value());
    return table.rows();
}

bool SavedFolder::is_begun(const fs::path& folder) { return fs::exists(folder / kPlanFile); }

std::optional<std::string> SavedFolder::fact(const fs::path& folder, const std::string& name) {
    const auto facts = read_facts(folder);
    if (!facts || !facts->contains(name)) {
        return std::nullopt;
    }
    return facts->at(name);
}

}  // namespace flux::data
