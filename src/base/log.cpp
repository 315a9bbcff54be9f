#include "flux/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <mutex>

#include "flux/base/error.h"

namespace flux::log {
namespace {

struct State {
    std::mutex mutex;
    std::shared_ptr<spdlog::sinks::stderr_color_sink_mt> terminal =
        std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
    spdlog::logger logger{"flux", terminal};
    std::shared_ptr<spdlog::logger> file;  // none before add_file()
    spdlog::level::level_enum file_level = spdlog::level::info;
    std::string origin;
    std::list<std::function<void()>> before_line;

    State() { logger.set_pattern("%Y-%m-%d %H:%M:%S %^%l%$ %v"); }
};

State& state() {
    static State instance;
    return instance;
}

spdlog::level::level_enum to_spdlog(Level level) {
    switch (level) {
        case Level::kInfo:
            return spdlog::level::info;
        case Level::kWarning:
            return spdlog::level::warn;
        case Level::kError:
            break;
    }
    return spdlog::level::err;
}

/// Terminal colours ("\x1b[1m") have no place in a file.
std::string without_colors(std::string_view line) {
    std::string plain;
    for (size_t i = 0; i < line.size(); ++i) {
        if (line[i] == '\x1b') {
            i = std::min(line.find('m', i), line.size());
        } else {
            plain += line[i];
        }
    }
    return plain;
}

/// Whether `rank` is in a list such as "0,3" of the ranks of so many processes.
bool is_listed(std::string_view list, int rank, int processes) {
    bool found = false;
    for (std::string_view rest = list; !rest.empty();) {
        const std::string_view word = rest.substr(0, rest.find(','));
        int value = -1;
        const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
        if (error != std::errc() || end != word.data() + word.size() || value < 0 ||
            word.size() + 1 == rest.size()) {
            fail_config("environment: LOG_RANK={}: must be ranks such as 0 or 0,3, or \"all\"",
                        list);
        }
        if (value >= processes) {
            fail_config(
                "environment: LOG_RANK={}: {} is no rank of this run: ranks are 0 to {}, one less "
                "than there are processes",
                list, value, processes - 1);
        }
        found = found || value == rank;
        rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    }
    return found;
}

spdlog::level::level_enum level_if(bool shown) {
    return shown ? spdlog::level::info : spdlog::level::warn;
}

}  // namespace

void configure(const Settings& settings) {
    const std::string& ranks = settings.shown_ranks;
    const bool shown = ranks.empty()
                           ? settings.rank == 0
                           : ranks == "all" || is_listed(ranks, settings.rank, settings.processes);
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.origin = settings.origin.empty() ? "" : settings.origin + ": ";
    s.logger.set_level(level_if(shown));
    s.file_level = level_if(settings.rank == 0);
    s.terminal->set_color_mode(settings.color ? spdlog::color_mode::automatic
                                              : spdlog::color_mode::never);
}

void add_file(const std::filesystem::path& path) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    try {
        s.file = std::make_shared<spdlog::logger>(
            "file", std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string()));
        s.file->set_pattern("%Y-%m-%d %H:%M:%S %l %v");
        s.file->set_level(s.file_level);
        s.file->flush_on(spdlog::level::info);
    } catch (const spdlog::spdlog_ex& problem) {
        fail("{}: cannot open the log file: {}", path.string(), problem.what());
    }
}

BeforeLine::BeforeLine(std::function<void()> hook) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    place_ = s.before_line.insert(s.before_line.end(), std::move(hook));
}

BeforeLine::~BeforeLine() {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.before_line.erase(place_);
}

void write(Level level, std::string_view line) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    if (s.logger.should_log(to_spdlog(level))) {
        for (const auto& hook : s.before_line) {
            hook();
        }
    }
    const std::string_view origin = level == Level::kInfo ? std::string_view() : s.origin;
    s.logger.log(to_spdlog(level), "{}{}", origin, line);
    if (s.file) {
        s.file->log(to_spdlog(level), "{}{}", origin, without_colors(line));
    }
}

}  // namespace flux::log
