// Log lines for people: to stderr and, once a run has a folder, to train.log. Chosen ranks (0
// unless told otherwise) log from `info`, others from `warning`. Numbers for machines go through
// metrics/ instead.
#pragma once

#include <fmt/core.h>

#include <filesystem>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <utility>

namespace flux::log {

enum class Level { kInfo, kWarning, kError };

struct Settings {
    int rank = 0;
    int processes = 1;  // all ranks are below
    /// Which process this is, "rank 3 on node17": warnings and errors begin with it. Empty for the
    /// only one.
    std::string origin{};
    bool color = true;  // colour on a terminal; never in the file
    /// LOG_RANK: the ranks whose info lines the terminal shows, "0,3" or "all"; empty: 0. The file
    /// is rank 0's.
    std::string shown_ranks{};
};

/// Throws ConfigError if LOG_RANK is neither a list of ranks that there are nor "all".
void configure(const Settings& settings);

/// Also appends every following line, without terminal colours, to `path`. Throws Error if it
/// cannot be opened.
void add_file(const std::filesystem::path& path);

/// While it lives `hook` is called before a line is written to the terminal, so that a progress bar
/// can clear itself. The hook must not log.
class BeforeLine {
public:
    explicit BeforeLine(std::function<void()> hook);
    ~BeforeLine();
    BeforeLine(const BeforeLine&) = delete;
    BeforeLine& operator=(const BeforeLine&) = delete;

private:
    std::list<std::function<void()>>::iterator place_;
};

void write(Level level, std::string_view line);

template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void warning(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kWarning, fmt::format(format, std::forward<Args>(args)...));
}

template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace flux::log
