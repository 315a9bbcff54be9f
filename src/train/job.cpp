#include "flux/train/job.h"

#include <algorithm>
#include <random>

#include "flux/base/crc32c.h"
#include "flux/base/error.h"
#include "flux/base/file.h"
#include "flux/base/log.h"
#include "flux/config/print.h"
#include "flux/config/validate.h"
#include "flux/model/flops.h"
#include "flux/train/device.h"
#include "flux/train/execution.h"
#include "flux/train/figures_queue.h"
#include "flux/train/init_from.h"
#include "flux/train/plan.h"
#include "flux/units/precision.h"
#include "train/resume_point.h"

namespace flux::train {
namespace {

template <class T, class Option>
void override_with(T& value, const Option& option) {
    if (option) {
        value = *option;
    }
}

uint64_t draw_seed() {
    std::random_device entropy;
    return (static_cast<uint64_t>(entropy()) << 31 | entropy()) >>
           1;  // below 2^63: fits a TOML integer
}

}  // namespace

void check_batch(const config::LoadedConfig& loaded, const ResolvedJob& job) {
    const int64_t global = job.global_batch_size;
    const int64_t processes = job.mesh.size();
    const std::string begun =
        job.resume ? fmt::format(" (with which the run in {} was begun: --job.restart begins anew)",
                                 job.resume->folder.string())
                   : "";
    if (global % processes != 0) {
        fail_config(
            "training.global_batch_size = {}{}: cannot be divided among {} processes: choose a "
            "number of processes that divides it",
            global, begun, processes);
    }
    if (global % job.group_size() != 0) {
        fail_config(
            "{}: {} processes take {} samples at a time, which must divide the global "
            "batch of {}{}; at most {} fit",
            loaded.place("training.batch_size"), processes, job.group_size(), global, begun,
            global / processes);
    }
    const int64_t accumulated = job.config.training.gradient_accumulation_steps;
    if (loaded.is_set("training.gradient_accumulation_steps") &&
        accumulated != job.micro_batches() && job.config.training.global_batch_size) {
        fail_config(
            "{}: training.global_batch_size = {}, training.batch_size = {} and {} processes make "
            "it {}; leave it out",
            loaded.place("training.gradient_accumulation_steps"), global,
            job.config.training.batch_size, processes, job.micro_batches());
    }
}

namespace {

/// A resumed run goes on as it began: what is unset comes from the checkpoint, another value is
/// refused.
template <class T>
T resumed_value(const config::LoadedConfig& loaded, const ResolvedJob& job, std::string_view key,
                bool is_set, T value, T saved) {
    if (is_set && value != saved) {
        fail_config(
            "{}: the run in {} was begun with {}; leave the option out, or begin anew with "
            "--job.restart",
            loaded.place(key), job.resume->folder.string(), saved);
    }
    return saved;
}

uint32_t program_checksum() {
    const std::string program = read_text("/proc/self/exe");
    return crc32c(std::as_bytes(std::span(program)));
}

/// Processes of different builds or options would compute different things, or wait for each other
/// for ever.
void check_same_everywhere(const config::LoadedConfig& loaded, dist::World& world) {
    if (world.size() == 1) {
        return;
    }
    const std::string program = fmt::format("{:08x}", program_checksum());
    if (const auto other = world.from_first("program", program); other != program) {
        fail_config(
            "this process runs another build of flux_train than rank 0 (checksums {} and {}): "
            "install the same one on all machines",
            program, other);
    }
    const std::string own = config::to_toml(loaded.config);
    const std::string first = world.from_first("configuration", own);
    if (first == own) {
        return;
    }
    const auto line_of = [](std::string_view text, size_t at) {
        const size_t begin = text.rfind('\n', at) + 1;
        return text.substr(begin, text.find('\n', at) - begin);
    };
    const size_t at = static_cast<size_t>(
        std::mismatch(own.begin(), own.end(), first.begin(), first.end()).first - own.begin());
    const size_t section = own.rfind("\n[", at);
    fail_config(
        "this process has `{}` where rank 0 has `{}`, in {}: all processes of a job need the same "
        "options",
        line_of(own, at), line_of(first, std::min(at, first.size())),
        section == std::string::npos ? "the first section" : line_of(own, section + 1));
}

/// All processes come to the same by the same names of machines; rank 0's counts.
dist::MeshShape agreed_mesh(const config::LoadedConfig& loaded, dist::World& world) {
    const dist::MeshShape own =
        dist::mesh_shape(loaded.config.parallelism,
                         loaded.is_set("parallelism.data_parallel_replicate_degree") ||
                             loaded.is_set("parallelism.data_parallel_shard_degree"),
                         world.place());
    const int shard = std::stoi(world.from_first("mesh", std::to_string(own.shard)));
    if (world.is_first() && !world.place().even_machines) {
        log::warning(
            "the machines hold unequal numbers of processes, or ranks that do not follow each "
            "other: neighbours in the mesh of {} x {} are on several machines, which is slow; "
            "start as many processes on each, in blocks (srun --distribution=block, mpirun "
            "--map-by ppr:N:node)",
            world.size() / shard, shard);
    }
    return {world.size() / shard, shard};
}

/// Device and dtype, the same kind on all processes.
void choose_device(ResolvedJob& job, dist::World& world) {
    const config::Training& training = job.config.training;
    job.device = prepare_device(job.config, job.place.local_rank);
    check_float8_device(job.config, job.device);
    job.dtype = units::compute_dtype(training.mixed_precision_param, job.device);
    job.figures_lag = figures_lag(job.device);
    std::vector<RankDevice> ranks;
    for (const std::string& text : world.exchange(
             "device", to_text(rank_device(training, job.device, job.dtype, job.place.host)))) {
        ranks.push_back(rank_device_from(text));
    }
    const auto difference = check_devices(ranks);
    if (difference && world.is_first()) {
        log::warning("{}", *difference);
    }
}

void check_machine(const ResolvedJob& job) {
    check_memory(plan_settings(job),
                 {.device = device_name(job.device),
                  .device_bytes = static_cast<int64_t>(device_memory_bytes(job.device)),
                  .host_bytes = static_cast<int64_t>(device_memory_bytes(at::kCPU)),
                  .processes = job.place.local_size});
}

}  // namespace

int64_t ResolvedJob::image_tokens() const {
    const int64_t side = config.training.img_size / 16;
    return side * side;
}

int64_t ResolvedJob::eval_interval() const {
    if (config.eval.freq_steps) {
        return *config.eval.freq_steps;
    }
    return (config.eval.eval_freq + global_batch_size - 1) / global_batch_size;
}

bool ResolvedJob::begins_anew(std::string_view part) const {
    const auto& parts = config.checkpoint.exclude_from_loading;
    return std::find(parts.begin(), parts.end(), part) != parts.end();
}

bool ResolvedJob::finished() const {
    if (!resume) {
        return false;
    }
    const checkpoint::RunState& run = resume->run;
    return run.target_reached ||
           (run.step >= config.training.steps && (!validates() || run.validated_step == run.step));
}

units::StoreSettings ResolvedJob::store(dist::Mesh* exchange) const {
    const config::Parallelism& settings = config.parallelism;
    // By default a sharded model is sharded again after forward, and whole weights stay whole.
    const bool frees =
        settings.fsdp_reshard_after_forward == config::ReshardMode::kAlways ||
        (settings.fsdp_reshard_after_forward == config::ReshardMode::kDefault && mesh.shard > 1);
    const int64_t prefetch = settings.fsdp_overlap_comm ? settings.fsdp_prefetch_params : 0;
    return {
        .compute_dtype = dtype,
        .device = device,
        .slabs = frees ? prefetch + 1 : 0,
        .prefetch = prefetch,
        .trainable = true,
        .host_shards = config.training.enable_cpu_offload,
        .reduce_dtype = config.training.mixed_precision_reduce == config::ReducePrecision::kBfloat16
                            ? at::kBFloat16
                            : at::kFloat,
        .overlap_reduction = settings.fsdp_overlap_comm,
        .no_weight_decay = config.optimizer.no_weight_decay,
        .mesh = exchange};
}

ResolvedJob resolve_job(const config::LoadedConfig& loaded, dist::World& world) {
    config::validate(loaded);
    config::validate_training(loaded);
    config::refuse_unbuilt(loaded);
    check_same_everywhere(loaded, world);
    ResolvedJob job;
    job.config = loaded.config;
    job.place = world.place();
    job.mesh = agreed_mesh(loaded, world);
    config::Training& training = job.config.training;
    job.model = model_dimensions(job.config);
    model::check(job.model);
    check_no_weight_decay(job);
    check_float8_layers(job.config, job.model);
    // What costs nothing to look at comes first: encoders and data take their time.
    for (const bool validation : {false, true}) {
        if (!validation || job.validates()) {
            data::check_dataset_name(dataset_settings(job.config, 0, validation));
        }
    }
    choose_device(job, world);
    check_machine(job);
    if (!job.config.job.restart) {
        job.resume = find_resume_point(job, world);
    }
    if (!job.resume && !training.init_from.empty()) {
        InitialWeights(training.init_from,
                       job.model);  // refused before the run's folder is touched
    }
    job.global_batch_size = config::global_batch_size(training, world.size());
    if (job.resume) {
        const checkpoint::RunState& run = job.resume->run;
        const bool batch_set =
            training.global_batch_size || loaded.is_set("training.gradient_accumulation_steps");
        job.global_batch_size = resumed_value(loaded, job, "training.global_batch_size", batch_set,
                                              job.global_batch_size, run.global_batch_size);
        job.seed = resumed_value(loaded, job, "training.seed", training.seed.has_value(),
                                 training.seed.value_or(0), run.seed);
    } else {
        job.seed = training.seed.value_or(draw_seed());
    }
    job.seed = std::stoull(world.from_first("seed", std::to_string(job.seed)));
    check_batch(loaded, job);
    job.config.job.restart = false;  // said once: going on from this run must not begin it anew
    training.seed = job.seed;
    training.global_batch_size = job.global_batch_size;
    training.gradient_accumulation_steps = job.micro_batches();
    if (job.resume) {
        check_changes(job);
    }
    return job;
}

model::FluxConfig model_dimensions(const config::JobConfig& config) {
    const config::Model& section = config.model;
    model::FluxConfig dimensions = model::flavor(section.flavor);
    override_with(dimensions.hidden_size, section.hidden_size);
    override_with(dimensions.num_heads, section.num_heads);
    override_with(dimensions.depth, section.depth);
    override_with(dimensions.depth_single_blocks, section.depth_single_blocks);
    override_with(dimensions.mlp_ratio, section.mlp_ratio);
    override_with(dimensions.vec_in_dim, section.vec_in_dim);
    override_with(dimensions.theta, section.theta);
    override_with(dimensions.qkv_bias, section.qkv_bias);
    override_with(dimensions.guidance_embed, section.guidance_embed);
    override_with(dimensions.context_in_dim, config.encoder.context_in_dim);
    if (section.axes_dim) {
        if (section.axes_dim->size() != dimensions.axes_dim.size()) {
            fail_config("model.axes_dim: has {} entries: must have 3, for index, row and column",
                        section.axes_dim->size());
        }
        std::copy(section.axes_dim->begin(), section.axes_dim->end(), dimensions.axes_dim.begin());
    }
    dimensions.qk_norm_eps = section.qk_norm_eps;
    return dimensions;
}

namespace {

units::RecomputePolicy recomputed_units(const config::ActivationCheckpoint& settings) {
    switch (settings.mode) {
        case config::RecomputeMode::kNone:
            return units::RecomputePolicy::none();
        case config::RecomputeMode::kFull:
            return units::RecomputePolicy::full();
        case config::RecomputeMode::kSelective:
            break;
    }
    const config::SelectiveRecompute selective = config::parse_selective_option(settings);
    return selective.every_nth > 0
               ? units::RecomputePolicy::every_nth(static_cast<int>(selective.every_nth))
               : units::RecomputePolicy{.fraction = selective.fraction};
}

}  // namespace

units::RecomputePolicy recompute_policy(const config::JobConfig& config) {
    units::RecomputePolicy policy = recomputed_units(config.activation_checkpoint);
    policy.keeps_results = config.activation_checkpoint.keep_results && config.kernels.fused;
    return policy;
}

data::DatasetSettings dataset_settings(const config::JobConfig& config, uint64_t seed,
                                       bool validation) {
    data::DatasetSettings settings;
    settings.option = validation ? "eval.dataset" : "training.dataset";
    settings.name = validation ? config.eval.dataset : config.training.dataset;
    settings.path = validation ? config.eval.dataset_path : config.training.dataset_path;
    settings.img_size = static_cast<int>(config.training.img_size);
    settings.seed = seed;
    settings.subset_size = validation ? 0 : config.training.subset_size.value_or(0);
    settings.by_shards = !validation && config.training.shuffle == config::Shuffle::kShards;
    settings.validation = validation;
    settings.needs_timesteps = validation && !config.eval.all_timesteps;
    settings.max_image_pixels = config.training.max_image_pixels;
    settings.index_folder = std::filesystem::path(config.job.dump_folder) / "index";
    if (!validation) {
        settings.buckets = {.step = static_cast<int>(config.training.buckets),
                            .least_rows = config::global_batch_size(config.training, 1)};
    }
    settings.remote = data::remote_settings_from_environment();
    if (!config.dataloader.cache_dir.empty()) {
        settings.remote.cache_dir = config.dataloader.cache_dir;
    } else if (config.training.shuffle == config::Shuffle::kShards ||
               settings.remote.cache_dir.empty()) {
        // Shards that make room for the next ones are this run's: another may read the same.
        settings.remote.cache_dir = std::filesystem::path(config.job.dump_folder) / "cache";
    }
    settings.remote.cache_bytes =
        static_cast<uint64_t>(config.dataloader.cache_size_gb) * 1'000'000'000;
    return settings;
}

}  // namespace flux::train
