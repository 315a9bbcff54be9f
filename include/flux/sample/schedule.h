// The noise levels a sampler visits.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "flux/config/job_config.h"

namespace flux::sample {

/// steps + 1 values from 1 down to 0. With `shift_tokens` they are moved towards noise as published
/// for dev: t -> e^mu / (e^mu + 1/t - 1), mu linear in the token count through (256, 0.5) and
/// (4096, 1.15).
std::vector<double> schedule(int64_t steps, std::optional<int64_t> shift_tokens);

/// The token count the schedule is shifted for, nothing for an even schedule. `auto`: the packed
/// length for flux-dev, no shift otherwise; `reference`: torchtitan's sampler, which passes the 16
/// latent channels for every picture size.
std::optional<int64_t> shift_tokens(config::TimeShift choice, std::string_view flavor,
                                    int64_t image_tokens);

}  // namespace flux::sample
