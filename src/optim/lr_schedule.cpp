#include "flux/optim/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace flux::optim {

LrSchedule::LrSchedule(const config::LrScheduler& settings, double base_lr, int64_t total_steps)
    : base_lr_(base_lr),
      lr_min_(settings.lr_min),
      type_(settings.decay_type),
      warmup_(std::min(settings.warmup_steps, total_steps)) {
    decay_ = total_steps - warmup_;
    if (settings.decay_ratio) {
        // nearbyint: halves go to the even neighbour, as Python's round().
        decay_ = static_cast<int64_t>(
            std::nearbyint(static_cast<double>(total_steps) * *settings.decay_ratio));
    }
    if (warmup_ + decay_ > total_steps) {
        decay_ = total_steps - warmup_;
    }
    stable_ = total_steps + 1 - warmup_ - decay_;
}

double LrSchedule::operator()(int64_t step) const {
    if (step < warmup_) {
        return base_lr_ * static_cast<double>(step + 1) / static_cast<double>(warmup_);
    }
    if (step < warmup_ + stable_) {
        return base_lr_;
    }
    const double progress =
        static_cast<double>(step + 1 - warmup_ - stable_) / static_cast<double>(decay_);
    double factor = 1 - progress;
    switch (type_) {
        case config::DecayType::kLinear:
            break;
        case config::DecayType::kSqrt:
            factor = 1 - std::sqrt(progress);
            break;
        case config::DecayType::kCosine:
            factor = 0.5 * (1 + std::cos(std::numbers::pi * progress));
            break;
    }
    return base_lr_ * (lr_min_ + (1 - lr_min_) * factor);
}

}  // namespace flux::optim
