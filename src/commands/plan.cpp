// `plan`: memory, communication and time of a job on GPUs that need not be here, from its
// configuration alone.
#include "flux/train/plan.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <charconv>
#include <cmath>

#include "commands/shared.h"
#include "flux/base/error.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/model/flops.h"
#include "flux/train/execution.h"
#include "flux/train/job.h"
#include "flux/units/precision.h"

namespace flux::commands {
namespace {

constexpr double kGiB = 1LL << 30;
constexpr double kGB = 1e9;

struct PlanFlags {
    int64_t gpus = 0;
    int64_t gpus_per_node = 8;
    std::string gpu;
    std::string intra_node_gbs;
    std::string inter_node_gbs;
    std::string utilisation = "0.4";
    std::string reserve_gib = "5";
};

std::vector<config::Flag> flags_of(PlanFlags& flags) {
    return {
        {"gpus", "N", "GPUs of all machines together", &flags.gpus},
        {"gpus-per-node", "N", "of one machine (default 8)", &flags.gpus_per_node},
        {"gpu", "NAME", fmt::format("{}", fmt::join(train::gpu_model_names(), ", ")), &flags.gpu},
        {"intra-node-gbs", "X",
         "what a GPU sends inside a machine, 1e9 bytes a second (default: 80 % of its links)",
         &flags.intra_node_gbs},
        {"inter-node-gbs", "X", "and between machines, for each GPU", &flags.inter_node_gbs},
        {"utilisation", "X", "share of the bf16 peak that computation reaches (default 0.4)",
         &flags.utilisation},
        {"reserve-gib", "X",
         "memory for CUDA, NCCL, workspaces and gaps between allocations (default 5)",
         &flags.reserve_gib}};
}

double number(const char* flag, const std::string& text, double least, double most) {
    double value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
        value < least || value > most) {
        fail_config("command line: --{} {}: must be a number from {} to {}", flag, text, least,
                    most);
    }
    return value;
}

/// Where the job runs and what is assumed of it.
struct Assumptions {
    train::GpuModel gpu;
    train::Links links;
    double utilisation = 0;
    int64_t reserve = 0;

    int64_t usable() const { return gpu.memory_bytes() - reserve; }
};

Assumptions assumptions_of(const PlanFlags& flags) {
    constexpr double kLeastGbs = 1e-3, kMostGbs = 1e6;
    Assumptions assumed{.gpu = train::gpu_model(flags.gpu),
                        .links = {},
                        .utilisation = number("utilisation", flags.utilisation, 0.001, 1),
                        .reserve = 0};
    const auto speed = [&](const char* flag, const std::string& text, double otherwise) {
        return text.empty() ? otherwise : number(flag, text, kLeastGbs, kMostGbs);
    };
    assumed.links = {
        .intra_node_gbs = speed("intra-node-gbs", flags.intra_node_gbs, assumed.gpu.intra_node_gbs),
        .inter_node_gbs = speed("inter-node-gbs", flags.inter_node_gbs, assumed.gpu.inter_node_gbs),
        .gpus_per_node = std::min(flags.gpus, flags.gpus_per_node)};
    assumed.reserve = static_cast<int64_t>(
        kGiB * number("reserve-gib", flags.reserve_gib, 0, assumed.gpu.memory_gib));
    return assumed;
}

void check_counts(const PlanFlags& flags) {
    constexpr int64_t kMostGpus = 1 << 20;
    const auto check = [&](const char* flag, int64_t value) {
        if (value < 1 || value > kMostGpus) {
            fail_config("command line: --{} {}: must be from 1 to {}", flag, value, kMostGpus);
        }
    };
    if (flags.gpus == 0 || flags.gpu.empty()) {
        fail_config(
            "command line: --{}: say on how many GPUs of which kind, as in "
            "--gpus 16 --gpu h100",
            flags.gpus == 0 ? "gpus is missing or 0" : "gpu is missing");
    }
    check("gpus", flags.gpus);
    check("gpus-per-node", flags.gpus_per_node);
    if (flags.gpus > flags.gpus_per_node && flags.gpus % flags.gpus_per_node != 0) {
        fail_config(
            "command line: --gpus {}: must be a multiple of --gpus-per-node {}, so that all "
            "machines have as many",
            flags.gpus, flags.gpus_per_node);
    }
}

/// The job as rank 0 would find it on those GPUs.
train::ResolvedJob planned_job(const config::LoadedConfig& loaded, const PlanFlags& flags) {
    config::validate(loaded);
    config::refuse_unbuilt(loaded);
    train::ResolvedJob job;
    job.config = loaded.config;
    job.place.world_size = static_cast<int>(flags.gpus);
    job.place.local_size = static_cast<int>(std::min(flags.gpus, flags.gpus_per_node));
    job.mesh = dist::mesh_shape(loaded.config.parallelism,
                                loaded.is_set("parallelism.data_parallel_replicate_degree") ||
                                    loaded.is_set("parallelism.data_parallel_shard_degree"),
                                job.place);
    job.model = train::model_dimensions(loaded.config);
    model::check(job.model);
    train::check_no_weight_decay(job);
    train::check_float8_layers(job.config, job.model);
    job.device = c10::Device(c10::kCUDA, 0);
    job.dtype = units::compute_dtype(loaded.config.training.mixed_precision_param, job.device);
    job.global_batch_size = config::global_batch_size(loaded.config.training, flags.gpus);
    train::check_batch(loaded, job);
    return job;
}

/// Those that the job opens; one that is not among the published ones is named and left out.
std::vector<encoders::EncoderCost> encoders_of(const train::ResolvedJob& job) {
    const config::Encoder& settings = job.config.encoder;
    if (job.config.training.test_mode) {
        return {};
    }
    const encoders::Placement placement{.dtype = units::compute_dtype(settings.dtype, job.device),
                                        .device = job.device,
                                        .offload = settings.offload};
    std::vector<encoders::EncoderCost> found;
    const auto add = [&](std::string_view key, const std::string& name, int64_t width,
                         std::optional<encoders::EncoderCost> cost) {
        if (name.empty() || name == "words") {
            return;
        }
        if (cost) {
            found.push_back(std::move(*cost));
        } else {
            fmt::print("encoder.{} = \"{}\": no published one has {} channels; it is not counted\n",
                       key, name, width);
        }
    };
    const int64_t tokens = job.model.context_in_dim, pooled = job.model.vec_in_dim;
    add("t5_encoder", settings.t5_encoder, tokens,
        encoders::t5_cost(tokens, settings.max_t5_encoding_len, placement));
    add("clip_encoder", settings.clip_encoder, pooled, encoders::clip_cost(pooled, placement));
    if (!settings.autoencoder_path.empty() && settings.autoencoder_path != "dct") {
        found.push_back(encoders::autoencoder_cost(job.config.training.img_size, placement));
    }
    return found;
}

const char* dtype_name(at::ScalarType dtype) { return dtype == at::kFloat ? "fp32" : "bf16"; }

void print_job(const train::ResolvedJob& job, const train::PlanSettings& settings,
               const Assumptions& assumed) {
    fmt::print("{}: {:.3f} billion parameters; {} x {}, {} to a machine\n", job.config.model.flavor,
               static_cast<double>(model::parameter_count(job.model)) * 1e-9, job.mesh.size(),
               assumed.gpu.name, assumed.links.gpus_per_node);
    fmt::print("mesh {} x {}: {} {} of the model, sharded over {} GPUs{}\n", job.mesh.replicate,
               job.mesh.shard, job.mesh.replicate, job.mesh.replicate == 1 ? "copy" : "copies",
               job.mesh.shard, job.mesh.replicate == 1 ? "" : " each");
    fmt::print(
        "step: {} GPUs x {} micro-batch{} x {} samples = {}; {} pixels, {} picture and {} "
        "text tokens\n",
        job.mesh.size(), settings.micro_batches, settings.micro_batches == 1 ? "" : "es",
        settings.batch_size, job.global_batch_size, job.config.training.img_size,
        settings.image_tokens, settings.text_tokens);
    const std::string products = train::products_text(job.config, job.model);
    fmt::print("computes in {}{}, gradients travel in {}\n",
               dtype_name(settings.store.compute_dtype), products,
               dtype_name(settings.store.reduce_dtype));
    if (settings.store.compute_dtype == at::kFloat || !products.empty()) {
        fmt::print(
            "the peak is that of bf16: --utilisation is to be the share of it that {} reach\n",
            products.empty() ? "products in fp32" : "these products");
    }
    if (!job.config.kernels.fused) {
        fmt::print("kernels.fused = false keeps more activations than are counted here\n");
    }
    fmt::print("\n");
}

void print_line(const std::string& what, int64_t bytes) {
    fmt::print("  {:<58}{:>9.2f}\n", what, static_cast<double>(bytes) / kGiB);
}

/// How the configuration keeps activations.
std::string mode_text(const config::ActivationCheckpoint& settings) {
    std::string text = recompute_name(settings.mode);
    if (settings.mode == config::RecomputeMode::kSelective) {
        text += " " + settings.selective_ac_option;
    }
    const bool results = settings.mode == config::RecomputeMode::kNone || settings.keep_results;
    return text + (results ? "" : ", inputs alone");
}

struct Verdict {
    const char *sentence, *word;
};

Verdict verdict_on(const train::MemoryPlan& plan, const train::ResolvedJob& job,
                   const Assumptions& assumed) {
    if (plan.device() > assumed.usable()) {
        return {"IT DOES NOT FIT", "no"};
    }
    return job.config.kernels.fused ? Verdict{"it fits", "yes"}
                                    : Verdict{"it may fit: twins keep more", "maybe"};
}

void print_memory(const train::ResolvedJob& job, const train::PlanSettings& settings,
                  const Assumptions& assumed) {
    const train::MemoryPlan plan = train::plan_memory(settings);
    fmt::print("memory of one GPU, GiB\n");
    print_line(fmt::format("parameters, fp32, 1/{}", job.mesh.shard), plan.parameters);
    print_line(fmt::format("gradients, fp32 ({:.2f} once activations are gone)",
                           static_cast<double>(plan.all_gradients) / kGiB),
               plan.gradients);
    print_line("optimizer, both moments in fp32", plan.optimizer);
    if (plan.average > 0) {
        print_line("average of the weights, fp32", plan.average);
    }
    print_line(
        fmt::format("slabs of gathered weights, {}", dtype_name(settings.store.compute_dtype)),
        plan.slabs);
    print_line(
        fmt::format("slabs of gradients on their way, {}", dtype_name(settings.store.reduce_dtype)),
        plan.gradient_slabs);
    print_line("inputs, targets and predictions of a micro-batch", plan.inputs);
    print_line(fmt::format("activations kept for backward ({})",
                           mode_text(job.config.activation_checkpoint)),
               plan.kept);
    print_line("activations and gradients of the unit at work", plan.activations - plan.kept);
    for (const encoders::EncoderCost& encoder : settings.encoders) {
        print_line(encoder.name, encoder.weights.device);
    }
    const int64_t backward = plan.inputs + plan.activations + plan.gradients;
    const int64_t encoding = plan.earlier_gradients + plan.encoding;
    if (plan.all_gradients > std::max(backward, encoding)) {
        print_line("all gradients, beyond what backward takes", plan.all_gradients - backward);
    } else if (encoding > backward) {
        print_line("encoders at work, beyond what backward takes", encoding - backward);
    }
    print_line("reserve (assumed)", assumed.reserve);
    const int64_t total = plan.device() + assumed.reserve;
    print_line("total", total);
    fmt::print("  {} has {:.1f} GiB: {}\n\n", assumed.gpu.name, assumed.gpu.memory_gib,
               verdict_on(plan, job, assumed).sentence);
    fmt::print(
        "host memory of one process, GiB: shards {:.2f}, encoders {:.2f}, staging of "
        "checkpoints {:.2f}\n\n",
        static_cast<double>(plan.host_shards) / kGiB,
        static_cast<double>(plan.host_encoders) / kGiB,
        static_cast<double>(plan.host_staging) / kGiB);
}

/// The same job with each way of keeping activations.
void print_modes(const train::ResolvedJob& job, train::PlanSettings settings,
                 const Assumptions& assumed) {
    fmt::print("{:<28}{:>12}{:>14}{:>12}{:>8}{:>22}\n", "activations", "kept, GiB", "peak, GiB",
               "total, GiB", "fits", "largest micro-batch");
    using Mode = config::RecomputeMode;
    const bool keeps = job.config.activation_checkpoint.keep_results;
    const std::pair<Mode, bool> ways[] = {
        {Mode::kFull, false}, {Mode::kFull, true}, {Mode::kSelective, keeps}, {Mode::kNone, keeps}};
    for (const auto& [mode, keep_results] : ways) {
        config::JobConfig config = job.config;
        config::ActivationCheckpoint& option = config.activation_checkpoint;
        option.mode = mode;
        option.keep_results = keep_results;
        settings.recompute = train::recompute_policy(config);
        const train::MemoryPlan plan = train::plan_memory(settings);
        fmt::print(
            "{:<28}{:>12.2f}{:>14.2f}{:>12.2f}{:>8}{:>22}\n",
            mode_text(option) + (option == job.config.activation_checkpoint ? " *" : ""),
            static_cast<double>(plan.kept) / kGiB, static_cast<double>(plan.activations) / kGiB,
            static_cast<double>(plan.device() + assumed.reserve) / kGiB,
            verdict_on(plan, job, assumed).word, train::largest_batch(settings, assumed.usable()));
    }
    fmt::print("\n");
}

void print_time(const train::PlanSettings& settings, const Assumptions& assumed) {
    const double flops_per_s = assumed.gpu.tflops * 1e12 * assumed.utilisation;
    const train::TimePlan time = train::plan_time(settings, assumed.links, flops_per_s);
    const dist::Traffic traffic = train::plan_traffic(settings);
    fmt::print("a step of one GPU{:>26}{:>14}\n", "GB sent", "ms");
    const auto line = [](const char* what, int64_t bytes, double seconds) {
        fmt::print("  {:<30}{:>11.3f}{:>14.1f}\n", what, static_cast<double>(bytes) / kGB,
                   1e3 * seconds);
    };
    line("all-gather of weights", traffic.all_gather, time.all_gather);
    line("reduce-scatter of gradients", traffic.reduce_scatter, time.reduce_scatter);
    line("all-reduce between copies", traffic.all_reduce, time.all_reduce);
    fmt::print("  {:<41}{:>14.1f}  at {:.0f} % of {:.0f} TFLOP/s (assumed)\n", "computation",
               1e3 * time.compute, 100 * assumed.utilisation, assumed.gpu.tflops);
    fmt::print("  {:<41}{:>14.1f}\n  {:<41}{:>14.1f}\n", "  of which again in backward",
               1e3 * time.recompute, "  of which encoders", 1e3 * time.encode);
    const double flops = time.model_flops * 1e-12;
    fmt::print(
        "links in one direction: {:.0f} GB/s inside a machine, {:.0f} GB/s between, for each "
        "GPU\n",
        assumed.links.intra_node_gbs, assumed.links.inter_node_gbs);
    fmt::print(
        "communication is {:.1f} % of computation; a step takes {:.0f} ms where it is hidden, "
        "{:.0f} ms where it is not\n",
        100 * time.exchange() / time.compute, 1e3 * time.best(), 1e3 * time.worst());
    const auto samples =
        static_cast<double>(settings.batch_size * settings.micro_batches * settings.mesh.size());
    fmt::print("that is {:.1f} to {:.1f} samples a second, MFU {:.1f} to {:.1f} %\n",
               samples / time.worst(), samples / time.best(),
               100 * flops / time.worst() / assumed.gpu.tflops,
               100 * flops / time.best() / assumed.gpu.tflops);
}

int show_help(PlanFlags& flags) {
    fmt::print(
        "Usage: flux_train plan --job.config_file FILE --gpus N --gpu NAME [--section.key=value "
        "...]\n\n"
        "Memory, communication and time of the job on those GPUs, which need not be here. Bytes "
        "are computed\nas the program allocates and sends them; speeds are assumed.\n\n{}",
        config::flags_help(flags_of(flags)));
    return 0;
}

}  // namespace

int plan(const Words& words) {
    PlanFlags flags;
    const config::CommandLine command_line = config::parse_command_line(words, flags_of(flags));
    if (command_line.help) {
        return show_help(flags);
    }
    const config::LoadedConfig loaded = config::load_config(command_line);
    show_notices(loaded);
    if (command_line.print_config) {
        fmt::print("{}", config::to_toml(loaded.config));
        return 0;
    }
    check_counts(flags);
    const Assumptions assumed = assumptions_of(flags);
    config::with_places(loaded, [&] {
        const train::ResolvedJob job = planned_job(loaded, flags);
        train::PlanSettings settings = train::plan_settings(job);
        settings.encoders = encoders_of(job);
        print_job(job, settings, assumed);
        print_memory(job, settings, assumed);
        print_modes(job, settings, assumed);
        print_time(settings, assumed);
    });
    return 0;
}

}  // namespace flux::commands
