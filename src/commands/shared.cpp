#include "commands/shared.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <limits>
#include <map>
#include <optional>

#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/base/nearest.h"
#include "flux/checkpoint/folder.h"

namespace flux::commands {
namespace {

/// The newest checkpoint in the folders of a run, or nothing. Those of a run that was set aside
/// (earlier-N/) lie deeper.
std::optional<std::filesystem::path> newest_of_run(const std::filesystem::path& run) {
    std::map<int64_t, std::filesystem::path> found;
    for (const std::filesystem::path& entry : list_folder(run)) {
        found.merge(checkpoint::committed(entry));
    }
    return found.empty() ? std::nullopt : std::optional(found.rbegin()->second);
}

}  // namespace

int run_tool(std::string_view subcommand, std::span<const Tool> tools, const Words& words) {
    for (const Tool& tool : tools) {
        if (!words.empty() && words.front() == tool.name) {
            return tool.run({words.begin() + 1, words.end()});
        }
    }
    if (!words.empty() && words.front() != "--help" && words.front() != "-h") {
        std::vector<std::string> names;
        for (const Tool& tool : tools) {
            names.emplace_back(tool.name);
        }
        fail_config("command line: {} {}: unknown{}; there are {}", subcommand, words.front(),
                    did_you_mean(words.front(), names), fmt::join(names, ", "));
    }
    fmt::print("Usage: flux_train {} TOOL ...   (each has its own --help)\n\n", subcommand);
    for (const Tool& tool : tools) {
        fmt::print("  {:<18}{}\n", tool.name, tool.help);
    }
    if (words.empty()) {
        fail_config("command line: {}: which tool?", subcommand);
    }
    return 0;
}

void check_between(std::string_view tool, std::string_view flag, int64_t value, int64_t low,
                   int64_t high) {
    if (value < low || value > high) {
        fail_config("command line: {}: {} {}: must be {} to {}", tool, flag, value, low, high);
    }
}

void show_notices(const config::LoadedConfig& loaded) {
    for (const std::string& notice : loaded.notices) {
        log::warning("{}", notice);
    }
}

const char* recompute_name(config::RecomputeMode mode) {
    switch (mode) {
        case config::RecomputeMode::kNone:
            return "none";
        case config::RecomputeMode::kFull:
            return "full";
        case config::RecomputeMode::kSelective:
            break;
    }
    return "selective";
}

config::Flag cache_flag(std::string& cache_dir) {
    return {"cache_dir", "DIR",
            "keeps shards fetched over the network (default FLUX_CACHE_DIR, else "
            "~/.cache/flux_train)",
            &cache_dir};
}

data::RemoteSettings remote_settings(const std::string& cache_dir) {
    data::RemoteSettings settings = data::remote_settings_from_environment();
    if (!cache_dir.empty()) {
        settings.cache_dir = cache_dir;
    }
    settings.cache_option = "--cache_dir";
    settings.cache_bytes = std::numeric_limits<uint64_t>::max();
    return settings;
}

void refuse_configuration(const config::CommandLine& command_line, std::string_view command) {
    if (!command_line.overrides.empty()) {
        fail_config("command line: {}: `{}` reads no configuration; leave it out",
                    command_line.overrides.front().shown, command);
    }
    if (command_line.print_config) {
        fail_config("command line: --print-config: `{}` reads no configuration; leave it out",
                    command);
    }
}

std::filesystem::path resolve_checkpoint(const std::filesystem::path& path) {
    if (!std::filesystem::is_directory(path)) {
        fail("{}: no such folder: name a run's folder, its checkpoint folder, or one step-N",
             path.string());
    }
    const std::filesystem::path bare = path.has_filename() ? path : path.parent_path();  // step-4/
    if (checkpoint::step_of(bare)) {
        return bare;
    }
    if (const auto newest = checkpoint::find_latest(path, -1)) {
        return *newest;
    }
    if (const auto newest = newest_of_run(path)) {
        return *newest;
    }
    fail(
        "{}: neither it nor a folder in it holds a complete checkpoint (step-N with "
        "checkpoint.json)",
        path.string());
}

void require_average(const checkpoint::Checkpoint& from, std::string_view option) {
    if (!from.has_kind(checkpoint::kEma)) {
        fail(
            "{}: {}: this checkpoint holds no averaged weights, which a run keeps with "
            "training.ema_decay; leave the option out for the trained ones",
            from.folder().string(), option);
    }
}

}  // namespace flux::commands
