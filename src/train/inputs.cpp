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
    if (dataset.size() < job.mesh.size()) {
        fail(
            "training.dataset = \"{}\": has {} samples for {} processes: there must be one for "
            "each",
            job.config.training.dataset, dataset.size(), job.mesh.size());
    }
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
            .seed = job.seed,
            .guidance = job.config.training.guidance,
            .num_workers = static_cast<int>(job.config.dataloader.num_workers),
            .max_bad_fraction = job.config.training.max_bad_fraction};
}

}  // namespace flux::train
