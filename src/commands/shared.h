// What the subcommands share: the list of them, the notices of a configuration, words for its
// values, and which checkpoint a path means.
#pragma once

#include <filesystem>
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
