// `report`: writes a run's page anew, or one that compares runs.
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/metrics/comparison.h"
#include "flux/train/report_page.h"

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
    return folder;
}

void rewrite(const fs::path& folder) {
    metrics::ReportInput page;
    metrics::HtmlReport report(folder);
    const metrics::RunProgress last = report.progress();
    if (const fs::path config = folder / "config.toml"; fs::exists(config)) {
        const config::JobConfig job =
            config::load_config({}, {.name = config.string(), .toml = read_text(config)}).config;
        page = train::report_input(job);
        page.status = last.step >= page.total_steps ? "finished" : "";
        if (job.training.seed) {
            constexpr int64_t kMostCounted = 1 << 24;  // more would not change the picture
            flow::TimestepHistogram histogram(train::kTimestepBins);
            train::count_timesteps(histogram, job.training, *job.training.seed, 0,
                                   std::min(last.samples, kMostCounted));
            page.timestep_counts = histogram.counts();
        }
    } else {
        page.title = "flux_train: " + folder.filename().string();
        log::warning("{}: is missing: the page shows the curves alone", config.string());
    }
    report.write(page);
    log::info("{}", (folder / "report.html").string());
}

/// The lines of an effective configuration, "section.key" -> the value as text.
std::map<std::string, std::string> option_texts(std::string_view toml) {
    std::map<std::string, std::string> texts;
    std::string section;
    while (!toml.empty()) {
        const size_t end = std::min(toml.find('\n'), toml.size());
        std::string_view line = toml.substr(0, end);
        toml.remove_prefix(std::min(end + 1, toml.size()));
        if (line.starts_with('[') && line.ends_with(']')) {
            section = line.substr(1, line.size() - 2);
            continue;
        }
        line.remove_prefix(line.starts_with("# ") ? 2 : 0);  // an option that is unset
        if (const size_t equals = line.find(" = "); equals != line.npos) {
            texts[fmt::format("{}.{}", section, line.substr(0, equals))] = line.substr(equals + 3);
        }
    }
    return texts;
}

using OptionTexts = std::optional<std::map<std::string, std::string>>;  // none: no config.toml

std::vector<metrics::ComparedOption> differing(const std::vector<OptionTexts>& runs) {
    std::set<std::string> names;
    for (const OptionTexts& run : runs) {
        for (const auto& [name, value] : run.value_or(std::map<std::string, std::string>())) {
            names.insert(name);
        }
    }
    std::vector<metrics::ComparedOption> options;
    for (const std::string& name : names) {
        metrics::ComparedOption option{.name = name, .values = {}};
        std::set<std::string> different;
        for (const OptionTexts& run : runs) {
            const bool known = run && run->contains(name);
            option.values.push_back(known ? run->at(name) : "n/a");
            if (run) {
                different.insert(option.values.back());
            }
        }
        const bool named_on_top = name == "job.dump_folder" || name == "job.description";
        if (different.size() > 1 && !named_on_top) {
            options.push_back(std::move(option));
        }
    }
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
    std::vector<OptionTexts> options;
    for (size_t i = 0; i < folders.size(); ++i) {
        const fs::path config = folders[i] / "config.toml";
        options.push_back(fs::exists(config) ? std::optional(option_texts(read_text(config)))
                                             : std::nullopt);
        std::string description;
        if (options.back() && options.back()->contains("job.description")) {
            const std::string& quoted = options.back()->at("job.description");
            description = quoted.size() < 2 ? quoted : quoted.substr(1, quoted.size() - 2);
        }
        runs.push_back({.folder = folders[i], .name = names[i], .description = description});
    }
    metrics::write_comparison(out, runs, differing(options));
    log::info("{} runs: {}", runs.size(), out);
}

}  // namespace

int report(const Words& words) {
    std::string out;
    const std::vector<config::Flag> flags{
        {"out", "FILE.html", "the page that compares the runs; one is written over", &out}};
    const config::CommandLine command_line =
        config::parse_command_line(words, flags, metrics::kMostComparedRuns);
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
