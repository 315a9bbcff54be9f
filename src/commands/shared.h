// What the subcommands share: lists of them and of their tools, the notices of a configuration,
// words for its values, and which checkpoint a path means.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "flux/checkpoint/load.h"
#include "flux/commands/commands.h"
#include "flux/config/command_line.h"
#include "flux/config/load_config.h"
#include "flux/data/object_store.h"

namespace flux::commands {

/// The lines of --help that list the subcommands.
std::string subcommands_help();

/// A subcommand, or one of its own: `bench step`.
struct Tool {
    std::string_view name;
    std::string_view help;
    int (*run)(const Words&);
};

/// Runs the tool that the first word names, or lists them for --help. Throws ConfigError naming
/// them for another word and for none.
int run_tool(std::string_view subcommand, std::span<const Tool> tools, const Words& words);

/// Throws ConfigError naming tool ("bench step"), flag and range.
void check_between(std::string_view tool, std::string_view flag, int64_t value, int64_t low,
                   int64_t high);

/// Writes the notices of a configuration to stderr.
void show_notices(const config::LoadedConfig& loaded);

/// For commands that read no configuration. Throws ConfigError naming the first word that is meant
/// for one: --section.key or --print-config.
void refuse_configuration(const config::CommandLine& command_line, std::string_view command);

/// As activation_checkpoint.mode names it.
const char* recompute_name(config::RecomputeMode mode);

/// --cache_dir of tools that read tar shards, which may lie on the network.
config::Flag cache_flag(std::string& cache_dir);

/// For shards from the network; `cache_dir`: the value of that option. A tool fetches what it was
/// asked for, without a limit of its own.
data::RemoteSettings remote_settings(const std::string& cache_dir);

/// The checkpoint that a path means: a step-N folder, the newest in a folder of them, or the newest
/// in any folder of a run's folder (checkpoint.folder is an option). Throws Error naming what was
/// looked for.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

/// Throws Error if the checkpoint holds no averaged weights, which `option` asks for.
void require_average(const checkpoint::Checkpoint& from, std::string_view option);

}  // namespace flux::commands
