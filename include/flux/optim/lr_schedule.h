// Warm-up, stable, decay: the learning rate of every step.
#pragma once

#include <cstdint>

#include "flux/config/job_config.h"

namespace flux::optim {

class LrSchedule {
public:
    /// `total_steps` is training.steps, where the decay ends; warm-up is cut to it.
    LrSchedule(const config::LrScheduler& settings, double base_lr, int64_t total_steps);

    /// Rate of the 0-based optimizer step. Warm-up starts at base / warmup_steps, never at 0;
    /// decay_ratio unset decays from the end of warm-up on, 0 never; the floor lr_min * base is
    /// approached and not reached.
    double operator()(int64_t step) const;

private:
    double base_lr_;
    double lr_min_;
    config::DecayType type_;
    int64_t warmup_;
    int64_t decay_;
    int64_t stable_;
};

}  // namespace flux::optim
