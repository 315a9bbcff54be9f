#include "flux/flow/timesteps.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/sigmoid.h>

#include <algorithm>

#include "flux/kernels/keyed_draw.h"

namespace flux::flow {
namespace {

at::Tensor draw(const TimestepSettings& settings, uint64_t seed, const at::Tensor& samples) {
    const kernels::DrawKey key{seed, Purpose::kTimestep};
    switch (settings.sampling) {
        case config::TimestepSampling::kUniform:
            return kernels::keyed_uniform(key, samples, {1}).squeeze(1);
        case config::TimestepSampling::kLogitNormal:
            break;
    }
    return at::sigmoid(kernels::keyed_normal(key, samples, {1}).squeeze(1) * settings.logit_std +
                       settings.logit_mean);
}

}  // namespace

at::Tensor sample_timesteps(const TimestepSettings& settings, uint64_t seed,
                            const at::Tensor& samples) {
    const at::Tensor t = draw(settings, seed, samples);
    if (settings.shift == 1.0) {
        return t;
    }
    return t * settings.shift / (t * (settings.shift - 1) + 1);
}

void TimestepHistogram::add(const at::Tensor& timesteps) {
    const at::Tensor host = timesteps.cpu();
    const auto bins = static_cast<int64_t>(counts_.size());
    for (int64_t i = 0; i < host.numel(); ++i) {
        const auto bin =
            static_cast<int64_t>(host.const_data_ptr<float>()[i] * static_cast<float>(bins));
        ++counts_[static_cast<size_t>(std::clamp<int64_t>(bin, 0, bins - 1))];
    }
}

}  // namespace flux::flow
