// The effective configuration of a job: defaults, then the TOML file of --job.config_file, then the
// command line.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "flux/base/error.h"
#include "flux/config/command_line.h"
#include "flux/config/job_config.h"

namespace flux::config {

struct LoadedConfig {
    JobConfig config;
    /// One line each for options that do nothing here and for values that were reinterpreted; for
    /// stderr.
    std::vector<std::string> notices;
    /// Where an option was set: "section.key" (canonical) -> "configs/x.toml:41" or "command line".
    std::map<std::string, std::string, std::less<>> origins;

    /// Whether the file or the command line set it; throws std::logic_error for a name that is no
    /// option.
    bool is_set(std::string_view name) const;
    /// For messages: "configs/x.toml:41: eval.batch_size = 0"; without the place for a default.
    std::string place(std::string_view name) const;
    /// A message of a later check that begins with an option's name, "model.axes_dim = ...: ...",
    /// after the place where that option was set, or else the next that it names. Other messages
    /// stay as they are.
    std::string located(const std::string& message) const;
};

/// Runs checks that do not know where options were set; their ConfigErrors come out located().
template <class Function>
auto with_places(const LoadedConfig& loaded, Function function) {
    try {
        return function();
    } catch (const ConfigError& problem) {
        throw ConfigError(loaded.located(problem.what()));
    }
}

/// A configuration to begin from in place of the defaults, such as the one a checkpoint holds.
struct BaseConfig {
    std::string name;  // where it comes from, for messages
    std::string toml;  // empty: the defaults
};

/// "section.key = new (was old)" for each option that differs, in the order of the options.
std::vector<std::string> differences(const JobConfig& before, const JobConfig& after);

/// All options of a section by name ("encoder.dtype"), as text.
std::map<std::string, std::string> section_values(const JobConfig& config,
                                                  std::string_view section);

/// Throws ConfigError for an unreadable file, a syntax error, an unknown section or option, a value
/// of the wrong type or out of range, or one option set to two values under two names.
LoadedConfig load_config(const CommandLine& command_line, const BaseConfig& base = {});

}  // namespace flux::config
