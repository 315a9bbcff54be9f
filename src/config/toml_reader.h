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

/// Throws ConfigError: the file cannot be read, or "file:line:column: ..." for a syntax error.
TomlFile read_toml(const std::string& path);

}  // namespace flux::config
