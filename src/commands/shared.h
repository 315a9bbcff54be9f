// What the subcommands share: reading the configuration, --help and --print-config, opening a model
// from a checkpoint.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "flux/commands/commands.h"
#include "flux/config/load_config.h"

namespace flux::commands {

/// The lines of --help that list the subcommands.
std::string subcommands_help();

/// Writes the notices of a configuration to stderr.
void show_notices(const config::LoadedConfig& loaded);

/// The checkpoint that a path means: a step-N folder, a folder of them, or a run's folder. Throws
/// Error naming what was looked for.
std::filesystem::path resolve_checkpoint(const std::filesystem::path& path);

}  // namespace flux::commands
