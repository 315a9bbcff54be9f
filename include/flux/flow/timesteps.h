// Which noise levels training sees: t = 0 is data, t = 1 is noise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "flux/config/job_config.h"

namespace flux::flow {

struct TimestepSettings {
    config::TimestepSampling sampling = config::TimestepSampling::kUniform;
    double logit_mean = 0.0;  // of logit_normal: t = sigmoid(mean + std * normal)
    double logit_std = 1.0;
    double shift = 1.0;  // then t -> shift t / (1 + (shift - 1) t); above 1 moves towards noise
};

/// The timestep of each global sample number, fp32 [B] in [0, 1]. `samples`: int64 [B].
at::Tensor sample_timesteps(const TimestepSettings& settings, uint64_t seed,
                            const at::Tensor& samples);

/// Counts drawn timesteps in equal bins of [0, 1].
class TimestepHistogram {
public:
    explicit TimestepHistogram(size_t bins) : counts_(bins, 0) {}

    void add(const at::Tensor& timesteps);
    const std::vector<int64_t>& counts() const { return counts_; }

private:
    std::vector<int64_t> counts_;
};

}  // namespace flux::flow
