#include "flux/base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

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
    std::function<void()> before_line;

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

}  // namespace

void configure(const Settings& settings) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.logger.set_level(settings.rank == 0 ? spdlog::level::info : spdlog::level::warn);
    s.terminal->set_color_mode(settings.color ? spdlog::color_mode::automatic
                                              : spdlog::color_mode::never);
}

void add_file(const std::filesystem::path& path) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    try {
        auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
        sink->set_pattern("%Y-%m-%d %H:%M:%S %l %v");
        s.logger.sinks().push_back(std::move(sink));
    } catch (const spdlog::spdlog_ex& problem) {
        fail("{}: cannot open the log file: {}", path.string(), problem.what());
    }
    s.logger.flush_on(spdlog::level::info);
}

void set_before_line(std::function<void()> hook) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    s.before_line = std::move(hook);
}

void write(Level level, std::string_view line) {
    State& s = state();
    const std::lock_guard lock(s.mutex);
    if (s.before_line && s.logger.should_log(to_spdlog(level))) {
        s.before_line();
    }
    s.logger.log(to_spdlog(level), "{}", line);
}

}  // namespace flux::log
