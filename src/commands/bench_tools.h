// The subcommands of `flux_train bench`, and what they measure with.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "flux/commands/commands.h"
#include "flux/config/load_config.h"
#include "flux/train/job.h"

namespace flux::commands {

int bench_data(const Words& words);
int bench_step(const Words& words);
int bench_unit(const Words& words);
int bench_checkpoint(const Words& words);
int bench_comm(const Words& words);

enum class Clock { kThreadCpu, kWall };

/// What a stage did per second, once a repeat.
struct Figure {
    std::string name;
    std::string unit;  // "pictures/s"
    Clock clock = Clock::kThreadCpu;
    std::vector<double> per_second{};

    double median() const;
};

/// Runs `pass`, which handles `items` of the unit, so often that a repeat takes a few tenths of a
/// second; one round beforehand warms up.
Figure measure(Figure figure, double items, int64_t repeats, const std::function<void()>& pass);

/// A table on stdout, with the shares that belong together.
void print_figures(const std::vector<Figure>& figures);

/// The same for programs: a list of objects with name, unit, clock, median and values.
void write_figures(const std::string& path, const std::vector<Figure>& figures);

double median_of(std::vector<double> values);

/// Seconds on the wall clock that `work` takes.
double seconds_of(const std::function<void()>& work);

/// Throws Error if `path` is taken or lies in no folder; empty is no file.
void check_free(const std::string& path);

/// Throws ConfigError naming the tool if several processes were started.
void check_alone(std::string_view tool);

/// Meets the other processes and has `work` do with the job what training would do, without a
/// checkpoint to go on from.
void run_job(config::LoadedConfig loaded,
             const std::function<void(train::ResolvedJob&, dist::World&)>& work);

/// One line of JSON on stdout, and in `path` if that is not empty.
void print_line(const nlohmann::ordered_json& line, const std::string& path);

}  // namespace flux::commands
