// Validation: the loss of every sample of a fixed set at its fixed timestep k / 8, k = 0 .. 7, or
// at all eight, with noise keyed by the sample, so that the same model gives the same value at any
// time and on any number of processes.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/data/dataset.h"
#include "flux/data/loader.h"
#include "flux/dist/mesh.h"
#include "flux/encoders/micro_batch.h"
#include "flux/flow/validation_grid.h"
#include "flux/model/mmdit.h"

namespace flux::eval {

struct ValidatorSettings {
    int64_t batch_size = 16;
    int64_t steps = -1;  // batches of all processes; -1: the whole set
    config::TimestepGrid timestep_grid = config::TimestepGrid::kEighths;
    bool all_timesteps = false;  // instead of the one that a sample names
    config::EvalNoise noise = config::EvalNoise::kKeyed;
    uint64_t seed = 0;
    double guidance = 1.0;
    int num_workers = 2;
    double max_bad_fraction = 0.01;
};

/// Sums over samples, and what is made of them. At all timesteps each sample counts eight times.
struct ValidationResult {
    std::array<double, flow::kValidationTimesteps> loss_sum{};
    std::array<int64_t, flow::kValidationTimesteps> count{};
    int64_t bad = 0;  // samples that were left out

    void add(int64_t timestep, double loss);
    /// Adds up what the processes of `group` have; afterwards all have the sums.
    void add_up(dist::Communicator& group, c10::Device device);
    int64_t samples() const;
    /// Mean over all samples.
    double sample_mean() const;
    /// Mean of one timestep's samples; NaN without samples.
    double timestep_mean(size_t timestep) const;
    /// Mean of the timesteps' means; equal to sample_mean() when the counts are equal.
    double mean_of_timestep_means() const;
};

/// The losses of one encoded batch, fp32 [B]. `timesteps`: k of each row, int64 [B].
at::Tensor validation_losses(model::Mmdit& model, encoders::MicroBatch batch,
                             const at::Tensor& timesteps, config::TimestepGrid grid);

class Validator {
public:
    /// `dataset` and `conditioning` must outlive the validator. Reads one sample, and throws Error
    /// if there is none, or it has no timestep and needs one: better now than after hours of
    /// training.
    Validator(const data::Dataset& dataset, const encoders::Conditioning& conditioning,
              const ValidatorSettings& settings);

    /// One pass over the set after `step` steps of training, divided among the processes of the
    /// model's mesh; nothing when `should_stop`, asked by all of them before each batch, said so.
    /// Throws Error naming the sample when one has no timestep, and when no sample could be read;
    /// one of several processes throws when all are done, and the others have a part of the result.
    std::optional<ValidationResult> run(model::Mmdit& model, int64_t step,
                                        const std::function<bool()>& should_stop = {}) const;

    /// The first `count` captions of the set, for sample pictures; samples that cannot be read are
    /// left out. None if the set holds encodings.
    std::vector<std::string> captions(int64_t count) const;

private:
    data::LoaderSettings loading(dist::Mesh& mesh) const;
    /// What passes through the model gave. It stays on the device until all is there: to read it
    /// is to wait for the device.
    struct Losses {
        std::vector<int64_t> timesteps;
        std::vector<at::Tensor> values;  // fp32 [B] of each pass

        ValidationResult read() const;
    };

    std::optional<data::Batch> next_batch(data::Loader& loader) const;
    std::vector<std::vector<int64_t>> passes(const data::Batch& batch) const;
    void accompany(model::Mmdit& model) const;
    void add_losses(Losses& losses, model::Mmdit& model, const data::Batch& batch,
                    int64_t step) const;
    void check_bad(const ValidationResult& result, int64_t samples, bool sums_up) const;

    const data::Dataset& dataset_;
    const encoders::Conditioning& conditioning_;
    ValidatorSettings settings_;
};

}  // namespace flux::eval
