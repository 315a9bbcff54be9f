// `bench step`: whole training steps of a configuration on synthetic data, by the functions that
// train; nothing is read or written.
#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "commands/bench_tools.h"
#include "commands/shared.h"
#include "flux/kernels/cuda_device.h"
#include "flux/kernels/host_memory.h"
#include "flux/kernels/keyed_draw.h"
#include "flux/metrics/meter.h"
#include "flux/model/flops.h"
#include "flux/train/device.h"
#include "flux/train/execution.h"
#include "flux/train/figures_queue.h"
#include "flux/train/step_path.h"
#include "flux/train/step_runner.h"
#include "flux/train/synthetic.h"

namespace flux::commands {
namespace {

constexpr double kGiB = 1024.0 * 1024 * 1024;

struct Options {
    int64_t steps = 10;
    int64_t warmup = train::kStepsBeforeGraph + 1;
    std::string json;
};

/// Every parameter is drawn, those too that begin at 0: a gate of 0 would make gradients of zeros.
void fill_weights(units::ParameterStore& parameters, uint64_t seed) {
    constexpr double kSpread = 0.02;
    parameters.initialize(seed);
    uint64_t index = 0;
    for (units::FlatShard& shard : parameters.shards()) {
        for (const units::Segment& segment : shard.segments) {
            const units::LocalPart part = units::local_part(shard, segment);
            at::Tensor drawn = part.of(shard.param).clone();
            kernels::keyed_fill_(drawn, kernels::Distribution::kNormal, {seed, Purpose::kInit},
                                 index++, part.begin);
            part.of(shard.param).add_(drawn, kSpread);
        }
    }
    parameters.parameters_changed();
}

struct Measured {
    std::vector<double> step_s;
    double peak_gib = 0;    // of tensors
    double memory_gib = 0;  // what model and steps took: of a GPU, or resident on a CPU
    double loss = 0;
};

double peak_gib(c10::Device device) {
    return static_cast<double>(device.is_cuda()
                                   ? kernels::cuda_memory(device.index()).peak_allocated_bytes
                                   : static_cast<size_t>(kernels::host_memory().peak)) /
           kGiB;
}

double resident_peak_gib() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) * 1024 / kGiB;
}

Measured run_steps(const train::ResolvedJob& job, dist::World& world, const Options& options) {
    const double resident_before = resident_peak_gib();
    dist::Mesh mesh = world.make_mesh(job.mesh, job.device);
    model::Mmdit model(job.model, job.store(&mesh), train::recompute_policy(job.config),
                       train::execution(job.config));
    fill_weights(model.parameters(), job.seed);
    optim::AdamW optimizer(job.config.optimizer, model.parameters().shards(), model.path());
    const encoders::MicroBatch batch = train::synthetic_batch(job);
    train::StepRunner steps({model, optimizer}, job.device, train::captures_steps(job));
    train::FiguresQueue unread(job.figures_lag, job.device);
    Measured measured;
    const int64_t all_steps = options.warmup + options.steps;
    auto begin = std::chrono::steady_clock::now();
    for (int64_t i = 1; i <= all_steps; ++i) {
        world.at(fmt::format("step {}", i));
        const train::StepResult result = steps.step({.global_batch_size = job.global_batch_size,
                                                     .micro_batches = job.micro_batches(),
                                                     .max_norm = job.config.training.max_norm},
                                                    job.config.optimizer.lr, [&] { return batch; });
        unread.add({.step = i}, train::packed(result));
        // A step lasts from the end of the one before it, seen as training sees it, to its own.
        while (const auto read = unread.take(i == options.warmup || i == all_steps)) {
            const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
            begin += std::chrono::duration_cast<std::chrono::steady_clock::duration>(took);
            measured.loss = read->loss;
            if (read->started.step > options.warmup) {
                measured.step_s.push_back(took.count());
            }
        }
    }
    measured.peak_gib = peak_gib(job.device);
    measured.memory_gib =
        job.device.is_cuda() ? measured.peak_gib : resident_peak_gib() - resident_before;
    return measured;
}

/// What another program has to build for the same work.
nlohmann::ordered_json shape_json(const train::ResolvedJob& job) {
    const model::FluxConfig& c = job.model;
    return {{"hidden_size", c.hidden_size},
            {"num_heads", c.num_heads},
            {"mlp_ratio", c.mlp_ratio},
            {"depth", c.depth},
            {"depth_single_blocks", c.depth_single_blocks},
            {"axes_dim", c.axes_dim},
            {"vec_in_dim", c.vec_in_dim},
            {"context_in_dim", c.context_in_dim},
            {"guidance_embed", c.guidance_embed},
            {"image_tokens", job.image_tokens()},
            {"text_tokens", job.config.encoder.max_t5_encoding_len},
            {"batch_size", job.config.training.batch_size},
            {"recompute", recompute_name(job.config.activation_checkpoint.mode)},
            {"keeps_results", train::recompute_policy(job.config).keeps_results}};
}

void report(const train::ResolvedJob& job, const Measured& measured, const Options& options) {
    const double step_s = median_of(measured.step_s);
    const double flops = static_cast<double>(job.global_batch_size) / job.mesh.size() *
                         model::training_flops(job.model, job.image_tokens(),
                                               job.config.encoder.max_t5_encoding_len);
    const double tflops = flops / step_s * 1e-12;
    const auto peak = job.config.metrics.peak_tflops
                          ? job.config.metrics.peak_tflops
                          : metrics::peak_tflops(train::device_name(job.device));
    const nlohmann::ordered_json line{
        {"bench", "step"},
        {"config", job.config.job.config_file},
        {"device", train::device_name(job.device)},
        {"processes", job.mesh.size()},
        {"path", train::step_path(job)},
        {"params", model::parameter_count(job.model)},
        {"batch", job.global_batch_size},
        {"shape", shape_json(job)},
        {"step_s_median", step_s},
        {"step_s_min", *std::min_element(measured.step_s.begin(), measured.step_s.end())},
        {"samples_per_s", static_cast<double>(job.global_batch_size) / step_s},
        {"tflops", tflops},
        {"mfu", peak ? nlohmann::ordered_json(tflops / *peak) : nlohmann::ordered_json()},
        {"peak_gib", measured.peak_gib},
        {"memory_gib", measured.memory_gib},
        {"peak_resident_gib", resident_peak_gib()},
        {"loss", measured.loss},
        {"step_s", measured.step_s}};
    print_line(line, options.json);
}

void check(const Options& options) {
    check_between("bench step", "--steps", options.steps, 1, 1'000'000);
    check_between("bench step", "--warmup", options.warmup, 0, 1'000'000);
    check_free(options.json);
}

}  // namespace

int bench_step(const Words& words) {
    Options options;
    const std::vector<config::Flag> flags{
        {"steps", "N", "steps to measure; the median counts (default 10)", &options.steps},
        {"warmup", "N",
         "steps before them (default 3: the third is recorded where steps are graphs)",
         &options.warmup},
        {"json", "FILE", "also writes the figures there", &options.json}};
    const config::CommandLine command_line = config::parse_command_line(words, flags);
    if (command_line.help) {
        fmt::print(
            "Usage: flux_train bench step --job.config_file FILE [--section.key=value ...]\n\n"
            "Training steps on synthetic data of the configured shape; one line of JSON on "
            "stdout.\nSeveral processes are started as for training.\n\n{}",
            config::flags_help(flags));
        return 0;
    }
    check(options);
    run_job(config::load_config(command_line), [&](train::ResolvedJob& job, dist::World& world) {
        if (world.is_first()) {
            train::say_step_path(job);
        }
        const Measured measured = run_steps(job, world, options);
        if (world.is_first()) {
            report(job, measured, options);
        }
    });
    return 0;
}

}  // namespace flux::commands
