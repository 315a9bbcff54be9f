// The options as text: the effective TOML, single values, the help page and the table of the
// documentation. All come from the rows of src/config/describe_*.cpp.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "flux/config/job_config.h"

namespace flux::config {

/// TOML with every option under its canonical name; it loads again to the same values. Options that
/// are unset stand there as comments.
std::string to_toml(const JobConfig& config);

/// Name and value of every option, in their order: {"training.seed", "1234"}.
std::vector<std::pair<std::string, std::string>> option_texts(const JobConfig& config);

/// What others may see of a configuration: the same, but that in every text the user and the query
/// of addresses are masked ("https://***@host/a.tar?***"), for passwords and signatures stand
/// there. Reports, TensorBoard and Weights & Biases get no other.
JobConfig published(JobConfig config);

/// Every option by section, with type, unit, help and aliases; with the default or, given a
/// configuration, its value and the default beside it where they differ.
std::string options_help(const JobConfig* config = nullptr);

/// A Markdown page with one table for each section.
std::string options_markdown();

}  // namespace flux::config
