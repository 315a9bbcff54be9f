#include "train/inputs.h"

#include "flux/base/error.h"
#include "flux/data/registry.h"
#include "flux/encoders/payload_check.h"

namespace flux::train {
namespace {

/// Throws ConfigError if the samples of a data set do not fit the encoders and the model.
void check_dataset(const ResolvedJob& job, const encoders::Conditioning& conditioning,
                   const data::Dataset& dataset, bool validation) {
    const config::JobConfig& config = job.config;
    encoders::check_payload(
        dataset.payload(), conditioning,
        {.dataset = validation ? fmt::format("eval.dataset = \"{}\"", config.eval.dataset)
                               : fmt::format("training.dataset = \"{}\"", config.training.dataset),
         .widths = {job.model.context_in_dim, job.model.vec_in_dim},
         .img_size = config.training.img_size,
         .drops_captions = !validation && config.training.classifier_free_guidance_prob > 0});
}

/// What fixes the samples, for people and for comparison. Where rows are read in an order of the
/// set's own, their number is an estimate, which grows with what a process has read.
std::string describe_samples(const data::Dataset& dataset) {
    const std::string size =
        dataset.order() == nullptr ? fmt::format("{} samples, ", dataset.size()) : "";
    return fmt::format("{}fingerprint {:016x}", size, dataset.fingerprint());
}

void check_same_samples(dist::World& world, const std::string& option, const std::string& name,
                        const data::Dataset& dataset) {
    const std::string place = world.place().host + '\0';
    const auto seen = world.exchange(option, place + describe_samples(dataset));
    const auto split = [](const std::string& text) {
        const size_t end = text.find('\0');
        return std::pair(text.substr(0, end), text.substr(end + 1));
    };
    const auto [first_host, first] = split(seen.front());
    for (size_t rank = 1; rank < seen.size(); ++rank) {
        const auto [host, own] = split(seen[rank]);
        if (own != first) {
            fail(
                "{} = \"{}\": rank {} on {} sees {}, rank 0 on {} sees {}: all processes need the "
                "same samples; look on that machine for shards that are missing, cannot be read "
                "or are another version",
                option, name, rank, host, own, first_host, first);
        }
    }
}

}  // namespace

std::unique_ptr<data::Dataset> open_validation_set(const ResolvedJob& job) {
    return job.validates() ? data::make_dataset(dataset_settings(job.config, job.seed, true))
                           : nullptr;
}

encoders::Conditioning open_conditioning(const ResolvedJob& job) {
    return encoders::Conditioning(
        job.config.encoder, job.config.training.test_mode,
        {.tokens = job.model.context_in_dim, .pooled = job.model.vec_in_dim}, job.device);
}

void check_datasets(const ResolvedJob& job, const encoders::Conditioning& conditioning,
                    const data::Dataset& dataset, const data::Dataset* validation_set) {
    check_dataset(job, conditioning, dataset, /*validation=*/false);
    if (validation_set != nullptr) {
        check_dataset(job, conditioning, *validation_set, /*validation=*/true);
    }
    // Where the order is the data set's own its size is an estimate.
    if (dataset.order() == nullptr && dataset.size() < job.mesh.size()) {
        fail(
            "training.dataset = \"{}\": has {} samples for {} processes: there must be one for "
            "each",
            job.config.training.dataset, dataset.size(), job.mesh.size());
    }
}

void check_same_data(const ResolvedJob& job, dist::World& world, const data::Dataset& dataset,
                     const data::Dataset* validation_set) {
    check_same_samples(world, "training.dataset", job.config.training.dataset, dataset);
    if (validation_set != nullptr) {
        check_same_samples(world, "eval.dataset", job.config.eval.dataset, *validation_set);
    }
}

std::vector<std::string> agreed_captions(dist::World& world, const eval::Validator& validator,
                                         int64_t count) {
    std::string text;
    if (world.is_first()) {
        for (const std::string& caption : validator.captions(count)) {
            text += caption + '\0';
        }
    }
    text = world.from_first("captions", text);
    std::vector<std::string> captions;
    for (size_t begin = 0, end = 0; begin < text.size(); begin = end + 1) {
        end = text.find('\0', begin);
        captions.push_back(text.substr(begin, end - begin));
    }
    return captions;
}

data::LoaderSettings loader_settings(const ResolvedJob& job, int64_t first_sample) {
    data::LoaderSettings settings;
    settings.batch_size = job.config.training.batch_size;
    settings.first_sample = first_sample;
    settings.group_size = job.group_size();
    settings.group_offset = job.group_offset();
    settings.step_size = job.global_batch_size;
    settings.shuffle = job.config.training.shuffle;
    settings.seed = job.seed;
    settings.num_workers = static_cast<int>(job.config.dataloader.num_workers);
    settings.prefetch_factor = static_cast<int>(job.config.dataloader.prefetch_factor);
    settings.max_bad_fraction = job.config.training.max_bad_fraction;
    settings.pinned = job.device.is_cuda();
    return settings;
}

eval::ValidatorSettings validator_settings(const ResolvedJob& job) {
    return {.batch_size = job.config.eval.batch_size,
            .steps = job.config.eval.steps,
            .timestep_grid = job.config.eval.timestep_grid,
            .all_timesteps = job.config.eval.all_timesteps,
            .noise = job.config.eval.noise,
            .seed = job.seed,
            .guidance = job.config.training.guidance,
            .num_workers = static_cast<int>(job.config.dataloader.num_workers),
            .max_bad_fraction = job.config.training.max_bad_fraction};
}

flow::TimestepSettings timestep_settings(const config::Training& training) {
    return {.sampling = training.timestep_sampling,
            .logit_mean = training.timestep_logit_mean,
            .logit_std = training.timestep_logit_std,
            .shift = training.timestep_shift};
}

}  // namespace flux::train
