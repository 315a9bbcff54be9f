// By which way a job's steps run, in words for the log and the benchmark.
#pragma once

#include <string>

#include "flux/train/job.h"

namespace flux::train {

/// "bfloat16, fused, no recompute, no TF32, CUDA graph"; TF32 only where there is such a thing,
/// "eager" without a graph.
std::string step_path(const ResolvedJob& job);

/// Logs it, and why training.compile is set and gives no graph.
void say_step_path(const ResolvedJob& job);

/// Whether steps are to become graphs (StepRunner).
bool captures_steps(const ResolvedJob& job);

}  // namespace flux::train
