#include "flux/optim/ema.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>

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

at::Tensor Ema::room() const {
    const auto largest =
        std::max_element(values_.begin(), values_.end(),
                         [](const auto& a, const auto& b) { return a.numel() < b.numel(); });
    return at::empty_like(*largest);
}

void Ema::exchange(units::ParameterStore& parameters, const at::Tensor& room) {
    for (size_t i = 0; i < values_.size(); ++i) {
        // Contents, not tensors: units may read the shards at their addresses.
        const at::Tensor& param = parameters.shards()[i].param;
        const at::Tensor weights = room.narrow(0, 0, param.numel());
        weights.copy_(param);
        param.copy_(values_[i]);
        values_[i].copy_(weights);
    }
    parameters.parameters_changed();
}

bool with_average(Ema* ema, units::ParameterStore& parameters, const std::function<bool()>& use) {
    if (ema == nullptr) {
        return use();
    }
    const at::Tensor room = ema->room();  // once, so that there is room for the way back
    ema->exchange(parameters, room);
    bool result = false;
    try {
        result = use();
    } catch (...) {
        ema->exchange(parameters, room);
        throw;
    }
    ema->exchange(parameters, room);
    return result;
}

}  // namespace flux::optim
