// What a configuration means on this machine and in this folder: device, dimensions, batch sizes,
// seed, and the checkpoint to go on from. Everything that can be refused before a file is written
// is refused here.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "flux/checkpoint/manifest.h"
#include "flux/config/load_config.h"
#include "flux/data/registry.h"
#include "flux/dist/world.h"
#include "flux/model/flux_config.h"
#include "flux/units/parameter_store.h"
#include "flux/units/recompute.h"

namespace flux::train {

/// The checkpoint a run goes on from.
struct ResumePoint {
    std::filesystem::path folder;  // step-N
    checkpoint::RunState run;
};

struct ResolvedJob {
    config::JobConfig config;  // effective: with the seed and the global batch size filled in,
                               // without job.restart
    c10::Device device = c10::Device(c10::DeviceType::CPU);
    c10::ScalarType dtype = c10::ScalarType::Float;
    model::FluxConfig model;
    dist::ProcessPlace place;  // this process among those of the job
    dist::MeshShape mesh;
    int64_t figures_lag = 0;  // steps that are read only when so many more have been started
    uint64_t seed = 0;
    int64_t global_batch_size = 0;
    std::optional<ResumePoint> resume;  // none: a new run

    std::filesystem::path folder() const { return config.job.dump_folder; }
    std::filesystem::path checkpoint_folder() const { return folder() / config.checkpoint.folder; }
    /// Of this process in each step.
    int64_t micro_batches() const { return global_batch_size / group_size(); }
    /// Samples that all processes take together in one micro-batch.
    int64_t group_size() const { return config.training.batch_size * mesh.size(); }
    /// Where this process's samples begin among them.
    int64_t group_offset() const { return config.training.batch_size * place.rank; }
    int64_t image_tokens() const;
    /// Steps between validations.
    int64_t eval_interval() const;
    /// Whether checkpoint.exclude_from_loading names the part.
    bool begins_anew(std::string_view part) const;
    bool validates() const { return !config.eval.dataset.empty(); }
    /// Whether the checkpoint to go on from is that of a run that came to its end, with the last
    /// validation.
    bool finished() const;
    /// How the model's parameters are kept and exchanged. `mesh` may be null.
    units::StoreSettings store(dist::Mesh* mesh) const;
};

/// Throws ConfigError for what the configuration has wrong, Error for what the machine or the
/// folder lacks. Looks for a checkpoint below the run's folder unless job.restart is set. All
/// processes of `world` must call, with the same configuration and program; what may differ
/// between them (a drawn seed, the newest checkpoint) is what rank 0 found.
ResolvedJob resolve_job(const config::LoadedConfig& loaded, dist::World& world);

/// Throws ConfigError if the global batch does not fall into whole micro-batches of every process.
void check_batch(const config::LoadedConfig& loaded, const ResolvedJob& job);

/// Throws ConfigError naming a pattern of optimizer.no_weight_decay that fits no parameter.
void check_no_weight_decay(const ResolvedJob& job);

/// The model's dimensions: those of the flavor, changed by the [model] options that are set.
model::FluxConfig model_dimensions(const config::JobConfig& config);

units::RecomputePolicy recompute_policy(const config::JobConfig& config);

/// The training set (`validation` false) or the validation set.
data::DatasetSettings dataset_settings(const config::JobConfig& config, uint64_t seed,
                                       bool validation);

}  // namespace flux::train
