// What the host learns of the steps it has started. On a GPU it reads a step's figures only when it
// has started some more, so that the device always has work and the host never waits for the step
// it has just started; all processes read the same step at the same place, and so agree on what
// follows from it.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/Event.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "flux/train/train_step.h"

namespace flux::train {

/// Steps that a GPU may be behind the host: one that it computes and one that waits for it. A CPU
/// computes nothing beside the host.
int64_t figures_lag(c10::Device device);

/// What the host knows of a step when it starts it.
struct StartedStep {
    int64_t step = 0;  // its number, the first one is 1
    double lr = 0;
};

/// The scalars of StepResult, read.
struct ReadStep {
    StartedStep started;
    double loss = 0;
    double grad_norm = 0;
    bool skipped = false;
    bool stop = false;
    int64_t bad = 0;
};

class FiguresQueue {
public:
    /// At most `lag` steps stay unread. `device`: where the results lie.
    FiguresQueue(int64_t lag, c10::Device device);

    /// Begins to copy the step's scalars (packed()) to the host, after what the current stream
    /// holds. There must be room: take() until it gives nothing.
    void add(const StartedStep& step, const at::Tensor& scalars);

    /// The oldest step if more than `lag` are unread, or, with `all`, any; waits for it. Throws
    /// what the device says of work that failed.
    std::optional<ReadStep> take(bool all);

    bool empty() const { return unread_.empty(); }

private:
    struct Entry {
        StartedStep step;
        size_t slot = 0;
        std::optional<c10::Event> copied;  // none on a CPU
    };

    int64_t lag_;
    c10::Device device_;
    std::vector<at::Tensor> slots_;  // fp32 [kStepScalars] each, page-locked for a GPU
    size_t next_slot_ = 0;
    std::deque<Entry> unread_;
};

}  // namespace flux::train
