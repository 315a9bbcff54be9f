// The checkpoint that a job goes on from, and what its configuration has changed since.
#pragma once

#include <optional>

#include "flux/dist/world.h"
#include "flux/train/job.h"

namespace flux::train {

/// What rank 0 finds below the run's folder, newest or checkpoint.load_step; the other processes
/// must see it too. Nothing for a new run.
std::optional<ResumePoint> find_resume_point(const ResolvedJob& job, dist::World& world);

/// Another model of the same tensor shapes would load, and be another model: throws ConfigError.
/// What else has changed is said.
void check_changes(const ResolvedJob& job);

}  // namespace flux::train
