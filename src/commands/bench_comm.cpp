// `bench comm`: the collective operations of a job's processes, of the sizes that its steps
// exchange and of a sweep, and what a step's traffic takes at that speed.
#include <ATen/ops/zeros.h>
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "commands/bench_tools.h"
#include "commands/shared.h"
#include "flux/base/dtype.h"
#include "flux/base/error.h"
#include "flux/train/device.h"
#include "flux/train/plan.h"

namespace flux::commands {
namespace {

struct Options {
    int64_t repeats = 10;
    int64_t sweep_mib = 64;
    std::string json;
};

enum class Operation { kAllGather, kReduceScatter, kAllReduce };

constexpr std::array kOperations{Operation::kAllGather, Operation::kReduceScatter,
                                 Operation::kAllReduce};

const char* name_of(Operation operation) {
    switch (operation) {
        case Operation::kAllGather:
            return "all_gather";
        case Operation::kReduceScatter:
            return "reduce_scatter";
        case Operation::kAllReduce:
            break;
    }
    return "all_reduce";
}

/// The processes among which a step does it. Where no copies of the model exist, sums are those of
/// a few figures of all processes.
dist::Communicator& group_of(Operation operation, dist::Mesh& mesh) {
    switch (operation) {
        case Operation::kAllGather:
            return mesh.gather();
        case Operation::kReduceScatter:
            return mesh.scatter();
        case Operation::kAllReduce:
            break;
    }
    return mesh.shape().replicate > 1 ? mesh.replicas() : mesh.world();
}

struct Line {
    Operation operation;
    at::ScalarType dtype;
    int64_t elements;  // that are gathered, scattered or added up, on each process
    bool of_step = false;
    int processes = 1;
    double seconds = 0;  // median, of the slowest process

    int64_t bytes() const { return elements * static_cast<int64_t>(c10::elementSize(dtype)); }
    /// What a process sends.
    int64_t sent() const {
        dist::Traffic traffic;
        switch (operation) {
            case Operation::kAllGather:
                traffic.add_all_gather(bytes() / processes, processes);
                break;
            case Operation::kReduceScatter:
                traffic.add_reduce_scatter(bytes() / processes, processes);
                break;
            case Operation::kAllReduce:
                traffic.add_all_reduce(bytes(), processes);
                break;
        }
        return traffic.total();
    }
    /// Bytes a second that a process sends.
    double bus() const { return static_cast<double>(sent()) / seconds; }
};

/// The largest of what a step exchanges, and a sweep in fp32.
std::vector<Line> lines_of(const train::ResolvedJob& job, dist::Mesh& mesh,
                           const Options& options) {
    constexpr int64_t kSmallest = 4096, kFactor = 16;  // bytes
    const train::PlanSettings settings = train::plan_settings(job);
    const units::StoreLayout layout = train::plan_layout(settings);
    const int64_t unit = layout.largest_unit();
    const units::StoreSettings& store = settings.store;
    std::vector<Line> lines{
        {Operation::kAllGather, store.compute_dtype, unit, true},
        {Operation::kReduceScatter, store.reduce_dtype, unit, true},
        {Operation::kAllReduce, store.reduce_dtype, unit / layout.processes, true}};
    if (mesh.shape().replicate == 1) {
        lines.pop_back();
    }
    for (int64_t bytes = kSmallest; bytes <= options.sweep_mib << 20; bytes *= kFactor) {
        for (const Operation operation : kOperations) {
            lines.push_back({operation, at::kFloat, bytes / 4});
        }
    }
    std::erase_if(lines, [&](Line& line) {
        line.processes = group_of(line.operation, mesh).size();
        line.elements = (line.elements + line.processes - 1) / line.processes * line.processes;
        return line.processes == 1;
    });
    return lines;
}

/// Median seconds of one, on this process. All begin at the same time.
double measure(const Line& line, dist::Mesh& mesh, c10::Device device, int64_t repeats) {
    constexpr int64_t kLittle = 1 << 20;  // bytes; below, several count as one measurement
    const int rounds = line.bytes() < kLittle ? 8 : 1;
    const at::TensorOptions options = at::TensorOptions(device).dtype(line.dtype);
    const at::Tensor whole = at::zeros({line.elements}, options);
    const at::Tensor part = at::zeros({line.elements / line.processes}, options);
    dist::Communicator& group = group_of(line.operation, mesh);
    const auto exchange = [&] {
        switch (line.operation) {
            case Operation::kAllGather:
                return group.all_gather(whole, part);
            case Operation::kReduceScatter:
                return group.reduce_scatter(part, whole);
            case Operation::kAllReduce:
                break;
        }
        return group.all_reduce(whole);
    };
    const at::Tensor& last = line.operation == Operation::kReduceScatter ? part : whole;
    const auto run = [&] {
        for (int i = 0; i < rounds; ++i) {
            exchange().wait();
        }
        last.narrow(0, 0, 1).cpu();  // on a GPU only this makes the host wait
    };
    run();
    std::vector<double> seconds;
    for (int64_t i = 0; i < repeats; ++i) {
        mesh.barrier();
        seconds.push_back(seconds_of(run) / rounds);
    }
    return median_of(seconds);
}

double slowest(dist::World& world, double seconds) {
    double most = 0;
    for (const std::string& text : world.exchange("bench comm", fmt::format("{}", seconds))) {
        most = std::max(most, std::stod(text));
    }
    return most;
}

nlohmann::ordered_json json_of(const Line& line) {
    return {{"operation", name_of(line.operation)},
            {"processes", line.processes},
            {"dtype", long_name(line.dtype)},
            {"bytes", line.bytes()},
            {"seconds_median", line.seconds},
            {"algorithm_gbs", static_cast<double>(line.bytes()) / line.seconds * 1e-9},
            {"bus_gbs", line.bus() * 1e-9},
            {"of_step", line.of_step}};
}

/// A step's traffic, and its seconds if nothing hid them and all went as fast as the largest unit.
nlohmann::ordered_json step_json(const train::ResolvedJob& job, const std::vector<Line>& lines) {
    const dist::Traffic traffic = train::plan_traffic(train::plan_settings(job));
    const std::array sent{traffic.all_gather, traffic.reduce_scatter, traffic.all_reduce};
    nlohmann::ordered_json step{{"micro_batches", job.micro_batches()},
                                {"operations", traffic.operations}};
    double all = 0;
    for (size_t i = 0; i < kOperations.size(); ++i) {
        const auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& candidate) {
            return candidate.operation == kOperations[i] && candidate.of_step;
        });
        const std::string name = name_of(kOperations[i]);
        const double seconds =
            line == lines.end() ? 0.0 : static_cast<double>(sent[i]) / line->bus();
        step[name + "_bytes"] = sent[i];
        step[name + "_s"] = seconds;
        all += seconds;
    }
    step["seconds"] = all;
    return step;
}

void report(const train::ResolvedJob& job, const std::vector<Line>& lines, const Options& options) {
    nlohmann::ordered_json operations = nlohmann::ordered_json::array();
    for (const Line& line : lines) {
        operations.push_back(json_of(line));
    }
    print_line({{"bench", "comm"},
                {"config", job.config.job.config_file},
                {"device", train::device_name(job.device)},
                {"backend", job.device.is_cuda() ? "nccl" : "gloo"},
                {"processes", job.mesh.size()},
                {"replicate", job.mesh.replicate},
                {"shard", job.mesh.shard},
                {"operations", operations},
                {"step", step_json(job, lines)}},
               options.json);
}

void check(const Options& options) {
    check_between("bench comm", "--repeats", options.repeats, 1, 1'000'000);
    check_between("bench comm", "--sweep_mib", options.sweep_mib, 0, 65536);
    check_free(options.json);
    if (dist::process_place().world_size == 1) {
        fail_config(
            "bench comm: one process has nothing to exchange: start several, as for training "
            "(NGPU=2 scripts/mpirun.sh build/flux_train bench comm ...)");
    }
}

}  // namespace

int bench_comm(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"repeats", "N", "of each; the median counts (default 10)", &options.repeats},
        {"sweep_mib", "N", "largest size of the sweep (default 64; 0: none)", &options.sweep_mib},
        {"json", "FILE", "also writes the figures there", &options.json}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train bench comm --job.config_file FILE [--section.key=value ...]\n\n"
            "All-gather, reduce-scatter and all-reduce among the processes of a job, started as "
            "for training;\none line of JSON on stdout.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    check(options);
    run_job(config::load_config(command_line), [&](train::ResolvedJob& job, dist::World& world) {
        dist::Mesh mesh = world.make_mesh(job.mesh, job.device);
        std::vector<Line> lines = lines_of(job, mesh, options);
        for (Line& line : lines) {
            world.at(fmt::format("{} of {} bytes", name_of(line.operation), line.bytes()));
            line.seconds = slowest(world, measure(line, mesh, job.device, options.repeats));
        }
        if (world.is_first()) {
            report(job, lines, options);
        }
    });
    return 0;
}

}  // namespace flux::commands
