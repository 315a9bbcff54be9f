// What a training run reads, from its job: data sets, encoders, and how they are read.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "flux/data/dataset.h"
#include "flux/data/loader.h"
#include "flux/encoders/conditioning.h"
#include "flux/eval/validator.h"
#include "flux/flow/timesteps.h"
#include "flux/train/job.h"

namespace flux::train {

/// Null if the job does not validate.
std::unique_ptr<data::Dataset> open_validation_set(const ResolvedJob& job);

encoders::Conditioning open_conditioning(const ResolvedJob& job);

/// Throws ConfigError if the samples do not fit the encoders and the model, Error if there are
/// fewer than processes. `validation_set` may be null.
void check_datasets(const ResolvedJob& job, const encoders::Conditioning& conditioning,
                    const data::Dataset& dataset, const data::Dataset* validation_set);

/// Throws Error, the same on all processes, naming a rank that does not see the samples that rank 0
/// sees: they would train on some twice and on others never, or wait for each other for ever.
/// `validation_set` may be null.
void check_same_data(const ResolvedJob& job, dist::World& world, const data::Dataset& dataset,
                     const data::Dataset* validation_set);

/// The validator's first `count` captions, as rank 0 reads them: processes that left out different
/// ones would draw different numbers of pictures.
std::vector<std::string> agreed_captions(dist::World& world, const eval::Validator& validator,
                                         int64_t count);

/// Of this process, from sample `first_sample` of the order on.
data::LoaderSettings loader_settings(const ResolvedJob& job, int64_t first_sample);

eval::ValidatorSettings validator_settings(const ResolvedJob& job);

/// How timesteps are drawn, from the [training] section.
flow::TimestepSettings timestep_settings(const config::Training& training);

}  // namespace flux::train
