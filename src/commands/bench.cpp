// `bench`: how fast parts of the program are on this machine.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string_view>

#include "commands/bench_tools.h"
#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/config/validate.h"

namespace flux::commands {
namespace {

double seconds(Clock clock) {
    timespec now{};
    ::clock_gettime(clock == Clock::kThreadCpu ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double median_named(const std::vector<Figure>& figures, std::string_view name) {
    const auto found = std::find_if(figures.begin(), figures.end(),
                                    [&](const Figure& figure) { return figure.name == name; });
    return found == figures.end() ? 0.0 : found->median();
}

/// What a figure is a share of; empty: nothing.
std::string share_text(const std::vector<Figure>& figures, const Figure& figure) {
    if (figure.name == "stored_rows") {
        return fmt::format("{:.0f} % of memcpy",
                           100 * figure.median() / median_named(figures, "memcpy"));
    }
    if (figure.name.starts_with("loader_") && figure.clock == Clock::kWall) {
        return fmt::format("{:.2f} times one thread",
                           figure.median() / median_named(figures, "loader_1"));
    }
    return {};
}

}  // namespace

double median_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const size_t half = values.size() / 2;
    return values.size() % 2 == 1 ? values[half] : 0.5 * (values[half - 1] + values[half]);
}

double seconds_of(const std::function<void()>& work) {
    const double begin = seconds(Clock::kWall);
    work();
    return seconds(Clock::kWall) - begin;
}

void check_free(const std::string& path) {
    if (!path.empty() && std::filesystem::exists(path)) {
        fail("{}: exists already: remove it, or choose another with --json", path);
    }
    const std::filesystem::path folder = std::filesystem::path(path).parent_path();
    if (!folder.empty() && !std::filesystem::is_directory(folder)) {
        fail("{}: the folder does not exist: create it, or choose another place with --json", path);
    }
}

void check_alone(std::string_view tool) {
    if (const int processes = dist::process_place().world_size; processes > 1) {
        fail_config("{}: measures one process, and these are {}: start it without a launcher", tool,
                    processes);
    }
}

void run_job(config::LoadedConfig loaded,
             const std::function<void(train::ResolvedJob&, dist::World&)>& work) {
    loaded.config.job.restart = true;  // no checkpoint is looked for
    const dist::ProcessPlace place = dist::process_place();
    log::configure({.rank = place.rank, .processes = place.world_size, .origin = place.origin()});
    dist::World world(place, loaded.config.comm);
    world.run([&] {
        config::with_places(loaded, [&] {
            train::ResolvedJob job = train::resolve_job(loaded, world);
            work(job, world);
            world.finish();
        });
    });
}

void print_line(const nlohmann::ordered_json& line, const std::string& path) {
    fmt::print("{}\n", line.dump());
    if (!path.empty()) {
        write_text(path, line.dump(2) + "\n");
    }
}

double Figure::median() const { return median_of(per_second); }

Figure measure(Figure figure, double items, int64_t repeats, const std::function<void()>& pass) {
    constexpr double kRepeatSeconds = 0.3;
    constexpr double kMostRounds = 1e6;
    pass();
    double begin = seconds(figure.clock);
    pass();
    const double once = std::max(seconds(figure.clock) - begin, 1e-9);
    const auto rounds =
        static_cast<int64_t>(std::clamp(std::ceil(kRepeatSeconds / once), 1.0, kMostRounds));
    for (int64_t repeat = 0; repeat < repeats; ++repeat) {
        begin = seconds(figure.clock);
        for (int64_t round = 0; round < rounds; ++round) {
            pass();
        }
        const double took = std::max(seconds(figure.clock) - begin, 1e-9);
        figure.per_second.push_back(items * static_cast<double>(rounds) / took);
    }
    return figure;
}

void print_figures(const std::vector<Figure>& figures) {
    fmt::print("{:<24}{:>12}  {:<12}{:<8}{}\n", "stage", "median", "", "clock", "range");
    for (const Figure& figure : figures) {
        const auto [low, high] =
            std::minmax_element(figure.per_second.begin(), figure.per_second.end());
        fmt::print("{:<24}{:>12.1f}  {:<12}{:<8}{:.1f} .. {:.1f}  {}\n", figure.name,
                   figure.median(), figure.unit, figure.clock == Clock::kThreadCpu ? "cpu" : "wall",
                   *low, *high, share_text(figures, figure));
    }
}

void write_figures(const std::string& path, const std::vector<Figure>& figures) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const Figure& figure : figures) {
        out.push_back({{"name", figure.name},
                       {"unit", figure.unit},
                       {"clock", figure.clock == Clock::kThreadCpu ? "cpu" : "wall"},
                       {"median", figure.median()},
                       {"values", figure.per_second}});
    }
    write_text(path, out.dump(2) + "\n");
}

int bench(const Words& words) {
    static constexpr std::array kTools{
        Tool{"step", "whole training steps on synthetic data", bench_step},
        Tool{"unit", "one double and one single block, operation by operation", bench_unit},
        Tool{"checkpoint", "saving and loading, beside the disk alone", bench_checkpoint},
        Tool{"comm", "exchanges between the processes of a job", bench_comm},
        Tool{"data", "pictures, tokenizers, stored encodings and the loader", bench_data}};
    return run_tool("bench", kTools, words);
}

}  // namespace flux::commands
