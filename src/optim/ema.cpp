#include "flux/optim/ema.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros_like.h>

namespace flux::optim {

Ema::Ema(double decay, std::span<const units::FlatShard> shards) : decay_(decay) {
    for (const units::FlatShard& shard : shards) {
        values_.push_back(at::zeros_like(shard.param));
    }
}

void Ema::begin(std::span<const units::FlatShard> shards) {
    for (size_t i = 0; i < values_.size(); ++i) {
        values_[i].copy_(shards[i].param);
    }
}

void Ema::update(std::span<const units::FlatShard> shards, const at::Tensor& skip) {
    // On the device, so that a skipped step needs no word from the host.
    const at::Tensor share = (-skip + 1) * (1 - decay_);
    for (size_t i = 0; i < values_.size(); ++i) {
        values_[i].lerp_(shards[i].param, share);
    }
}

void Ema::exchange(units::ParameterStore& parameters) {
    for (size_t i = 0; i < values_.size(); ++i) {
        // Contents, not tensors: units may read the shards at their addresses.
        const at::Tensor& param = parameters.shards()[i].param;
        const at::Tensor weights = param.clone();
        param.copy_(values_[i]);
        values_[i].copy_(weights);
    }
    parameters.parameters_changed();
}

bool with_average(Ema* ema, units::ParameterStore& parameters, const std::function<bool()>& use) {
    if (ema == nullptr) {
        return use();
    }
    ema->exchange(parameters);
    bool result = false;
    try {
        result = use();
    } catch (...) {
        ema->exchange(parameters);
        throw;
    }
    ema->exchange(parameters);
    return result;
}

}  // namespace flux::optim
