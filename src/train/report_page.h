// What the report of a run says that only its configuration tells.
#pragma once

#include <cstdint>

#include "flux/config/job_config.h"
#include "flux/flow/timesteps.h"
#include "flux/metrics/html_report.h"

namespace flux::train {

/// Title, facts and so on; `complete` is a run's effective configuration, of which the report shows
/// what may be published.
metrics::ReportInput report_input(const config::JobConfig& complete);

/// Adds the timesteps drawn for the samples [first, end). The draws are keyed by the sample, so
/// this needs no word from the device and no memory of the run.
void count_timesteps(flow::TimestepHistogram& histogram, const config::Training& training,
                     uint64_t seed, int64_t first, int64_t end);

inline constexpr size_t kTimestepBins = 50;

}  // namespace flux::train
