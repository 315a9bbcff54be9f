// `report`: writes a run's page anew, or one that compares runs.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/folder_lock.h"
#include "flux/base/log.h"
#include "flux/config/print.h"
#include "flux/metrics/comparison.h"
#include "flux/metrics/html_report.h"

namespace flux::commands {
namespace {

namespace fs = std::filesystem;

/// A run's folder without its last slash: "runs/a/" and "runs/a" are one name.
fs::path run_folder(const std::string& word) {
    const fs::path path(word);
    const fs::path folder = path.has_filename() ? path : path.parent_path();
    if (!fs::exists(folder / "metrics.jsonl")) {
        fail("{}: holds no metrics.jsonl: name the folder of a run (its job.dump_folder)", word);
    }
    metrics::check_metrics(folder);
    return folder;
}

void rewrite(const fs::path& folder) {
    if (const auto owner = lock_holder(folder)) {
        log::info("{}: {} still works there and keeps its report.html up to date", folder.string(),
                  *owner);
        return;
    }
    auto page = metrics::load_report_input(folder);
    if (!page) {
        log::warning("{}: is missing: the page shows the curves alone",
                     (folder / "report.json").string());
        page.emplace();
        page->title = "flux_train: " + folder.filename().string();
    }
    if (page->status == "running") {
        page->status = "interrupted";
    }
    metrics::HtmlReport(folder).write(*page);
    log::info("{}", (folder / "report.html").string());
}

/// What a run's folder says of its options; nothing where it says nothing that can be read.
std::optional<config::JobConfig> options_of(const fs::path& folder) {
    const fs::path file = folder / "config.toml";
    if (!fs::exists(file)) {
        return std::nullopt;
    }
    try {
        return config::published(
            config::load_config({}, {.name = file.string(), .toml = read_text(file)}).config);
    } catch (const ConfigError& problem) {  // as a program of another age wrote them
        log::warning("{}: the options of this run are left out", problem.what());
        return std::nullopt;
    }
}

std::vector<metrics::ComparedOption> differing(
    const std::vector<std::optional<config::JobConfig>>& runs) {
    std::vector<metrics::ComparedOption> options;
    for (const auto& [name, value] : config::option_texts({})) {
        options.push_back({.name = name, .values = {}});
    }
    for (const auto& run : runs) {
        const auto texts = config::option_texts(run.value_or(config::JobConfig{}));
        for (size_t i = 0; i < options.size(); ++i) {
            options[i].values.push_back(run ? texts[i].second : "n/a");
        }
    }
    std::erase_if(options, [&](const metrics::ComparedOption& option) {
        std::set<std::string> different;
        for (size_t i = 0; i < runs.size(); ++i) {
            if (runs[i]) {
                different.insert(option.values[i]);
            }
        }
        const bool named_on_top =
            option.name == "job.dump_folder" || option.name == "job.description";
        return named_on_top || different.size() < 2;
    });
    return options;
}

/// The folders' last parts, or the whole paths where those would be alike.
std::vector<std::string> names_of(const std::vector<fs::path>& folders) {
    std::set<std::string> last_parts;
    std::vector<std::string> names;
    for (const fs::path& folder : folders) {
        names.push_back(folder.filename().string());
        last_parts.insert(names.back());
    }
    if (last_parts.size() < names.size()) {
        std::transform(folders.begin(), folders.end(), names.begin(),
                       [](const fs::path& folder) { return folder.string(); });
    }
    return names;
}

void compare(const std::vector<fs::path>& folders, const std::string& out) {
    const std::vector<std::string> names = names_of(folders);
    std::vector<metrics::ComparedRun> runs;
    std::vector<std::optional<config::JobConfig>> options;
    for (size_t i = 0; i < folders.size(); ++i) {
        options.push_back(options_of(folders[i]));
        runs.push_back({.folder = folders[i],
                        .name = names[i],
                        .description = options.back() ? options.back()->job.description : ""});
    }
    metrics::write_comparison(out, runs, differing(options));
    log::info("{} runs: {}", runs.size(), out);
}

}  // namespace

int report(const Words& words) {
    std::string out;
    const std::vector<config::Flag> flags{
        {"out", "FILE.html", "the page that compares the runs; one is written over", &out}};
    const config::CommandLine command_line = config::parse_command_line(words, flags, words.size());
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train report DIR                       writes DIR/report.html anew\n"
            "       flux_train report DIR... --out FILE.html    lays the curves of up to {} runs "
            "over each other\n\n{}",
            metrics::kMostComparedRuns, config::flags_help(flags));
        return 0;
    }
    refuse_configuration(command_line, "report");
    const size_t count = command_line.words.size();
    if (count == 0) {
        fail_config("command line: report: DIR is missing: name the folder of a run, or several");
    }
    if (count > metrics::kMostComparedRuns) {
        fail_config("command line: report: {} runs: one page compares up to {}", count,
                    metrics::kMostComparedRuns);
    }
    if (out.empty() && count > 1) {
        fail_config(
            "command line: report: {} runs are compared on a page of its own: name it with "
            "--out FILE.html",
            count);
    }
    if (!out.empty() && fs::path(out).extension() != ".html") {  // nothing else is written over
        fail_config("command line: --out {}: must end with .html", out);
    }
    std::vector<fs::path> folders;
    for (const std::string& word : command_line.words) {
        folders.push_back(run_folder(word));
    }
    if (out.empty()) {
        rewrite(folders.front());
    } else {
        compare(folders, out);
    }
    return 0;
}

}  // namespace flux::commands
