// One optimizer step: forward and backward over the micro-batches of a global batch, clipping,
// AdamW.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "flux/encoders/micro_batch.h"
#include "flux/model/mmdit.h"
#include "flux/optim/adamw.h"

namespace flux::train {

struct StepSettings {
    int64_t global_batch_size = 1;
    int64_t micro_batches = 1;
    double max_norm = 1.0;
    bool stop_requested = false;  // of this process
    bool rehearsal = false;       // does all the work and changes nothing
    /// Bad samples among this process's of the step, asked when all have been read; empty: none.
    std::function<int64_t()> bad_samples{};
};

/// fp32 scalars on the device; reading them waits for the step.
struct StepResult {
    at::Tensor loss;       // mean over the global batch
    at::Tensor grad_norm;  // before clipping
    at::Tensor skipped;    // 1 when loss or norm was not finite and nothing changed, else 0
    at::Tensor stop;       // > 0 when any process was asked to stop
    at::Tensor bad;        // bad samples of all processes
};

/// The scalars in the order of their declaration, fp32 [kStepScalars] where the loss lies.
inline constexpr int64_t kStepScalars = 5;
at::Tensor packed(const StepResult& result);

/// `next` gives this process's micro-batches one by one. The sizes of all processes' add up to the
/// global batch.
StepResult train_step(model::Mmdit& model, optim::AdamW& optimizer, const StepSettings& settings,
                      double lr, const std::function<encoders::MicroBatch()>& next);

}  // namespace flux::train
