// The MLPerf side of a run: what its log says of the configuration, and whether the closed
// division's rules for flux1 can be met.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "flux/dist/world.h"
#include "flux/metrics/mlperf_log.h"
#include "flux/train/job.h"
#include "flux/train/run_log.h"

namespace flux::train {

metrics::MlperfFacts mlperf_facts(const ResolvedJob& job, const RunSizes& sizes);

/// What keeps the run from being a valid result of the closed division, each a sentence that names
/// option, value and rule.
std::vector<std::string> closed_division_problems(const ResolvedJob& job,
                                                  const metrics::MlperfFacts& facts);

/// Has every machine drop the file caches if mlperf.clear_caches asks for it; whether all could.
bool clear_caches(const ResolvedJob& job, dist::World& world);

}  // namespace flux::train
