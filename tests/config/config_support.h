// Shorthand of the configuration's tests: load from words and a file's text, and compare messages.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "flux/base/file.h"
#include "flux/config/load_config.h"
#include "support/problem.h"
#include "support/reference.h"

namespace flux::config {

inline LoadedConfig load_words(const std::vector<std::string>& words) {
    return load_config(parse_command_line(words));
}

/// A file job.toml in a folder of its own, read before the words.
class ConfigFile {
public:
    explicit ConfigFile(const std::string& text) : path_((folder_.path() / "job.toml").string()) {
        write_text(path_, text);
    }
    LoadedConfig load(std::vector<std::string> words = {}) const {
        words.push_back("--job.config_file=" + path_);
        return load_words(words);
    }
    /// "<path>:<line>"
    std::string line(int number) const { return path_ + ":" + std::to_string(number); }
    const std::string& path() const { return path_; }

private:
    test::TemporaryFolder folder_;
    std::string path_;
};

/// The message of the ConfigError that `call` must throw.
template <class Call>
std::string config_error(const Call& call) {
    const std::string problem = test::problem_of<ConfigError>(call);
    EXPECT_NE(problem, "") << "no ConfigError";
    return problem;
}

}  // namespace flux::config
