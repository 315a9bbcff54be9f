// Reads a TOML file into a flat list of settings with their lines; knows nothing of options.
#pragma once

#include <string>
#include <vector>

#include "config/options.h"

namespace flux::config {

struct TomlSetting {
    std::string name;  // "section.key"; without a section just "key"
    Value value;
    int64_t line;
};

struct TomlSection {
    std::string name;
    int64_t line;
};

struct TomlFile {
    std::vector<TomlSection> sections;  // both in the order of their lines
    std::vector<TomlSetting> settings;
};

/// Throws ConfigError "name:line:column: ..." for a syntax error; `name` is that of the text's
/// origin.
TomlFile parse_toml(const std::string& text, const std::string& name);

/// The same for a file; throws ConfigError too if it cannot be read.
TomlFile read_toml(const std::string& path);

}  // namespace flux::config
