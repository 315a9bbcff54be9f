// The options as text: the effective TOML, the help page and the table of the documentation. All
// three come from the rows of src/config/describe_*.cpp.
#pragma once

#include <string>

#include "flux/config/job_config.h"

namespace flux::config {

/// TOML with every option under its canonical name; it loads again to the same values. Options that
/// are unset stand there as comments.
std::string to_toml(const JobConfig& config);

/// Every option by section, with type, unit, help and aliases; with the default or, given a
/// configuration, its value and the default beside it where they differ.
std::string options_help(const JobConfig* config = nullptr);

/// A Markdown page with one table for each section.
std::string options_markdown();

}  // namespace flux::config
