// Batches without any data, for measurements and for warm-up.
#pragma once

#include "flux/encoders/micro_batch.h"
#include "flux/train/job.h"

namespace flux::train {

/// A micro-batch of this process, of the configured shape: normal numbers for latents, noise and
/// text, the same at every call (a GPU takes less power, and so less time, for zeros), at timestep
/// 1/2.
encoders::MicroBatch synthetic_batch(const ResolvedJob& job);

}  // namespace flux::train
