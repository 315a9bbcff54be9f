// One optimizer step: forward and backward over the micro-batches of a global batch, clipping,
// AdamW, the average of the weights.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "flux/encoders/micro_batch.h"
#include "flux/model/mmdit.h"
#include "flux/optim/adamw.h"
#include "flux/optim/ema.h"

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
    at::Tensor skipped;  // 1 when nothing changed: loss or norm not finite, or a rehearsal; else 0
    at::Tensor stop;     // > 0 when any process was asked to stop
    at::Tensor bad;      // bad samples of all processes
};

/// The scalars in the order of their declaration, fp32 [kStepScalars] where the loss lies.
inline constexpr int64_t kStepScalars = 5;
at::Tensor packed(const StepResult& result);

/// What a step changes. The average may be null.
struct StepParts {
    model::Mmdit& model;
    optim::AdamW& optimizer;
    optim::Ema* ema = nullptr;
};

/// The numbers that differ from step to step, fp32 scalars that lie where they are used: what is
/// done with them can be recorded once and repeated.
struct StepNumbers {
    at::Tensor lr;
    at::Tensor rehearsal;  // 1: nothing changes
    at::Tensor stop;       // 1: this process was asked to
    at::Tensor bad;        // samples of this process

    explicit StepNumbers(const units::ParameterStore& parameters);
    /// Asks settings.bad_samples().
    void set(const StepSettings& settings, double lr_of_step);
};

/// Gives this process's micro-batches one by one.
using NextMicroBatch = std::function<encoders::MicroBatch()>;

/// The sizes of all processes' micro-batches add up to the global batch.
StepResult train_step(const StepParts& parts, const StepSettings& settings, double lr,
                      const NextMicroBatch& next);

/// The same from `numbers`, which are asked for when all micro-batches have been read. The device
/// is neither waited for nor told anything from the host, but for what shards in host memory ask.
StepResult compute_step(const StepParts& parts, const StepSettings& settings,
                        const NextMicroBatch& next,
                        const std::function<const StepNumbers&()>& numbers);

}  // namespace flux::train
