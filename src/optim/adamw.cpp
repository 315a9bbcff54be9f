#include "flux/optim/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace flux::optim {

AdamW::AdamW(const config::Optimizer& settings, std::span<const units::FlatShard> shards)
    : settings_(settings) {
    for (const units::FlatShard& shard : shards) {
        exp_avg_.push_back(at::zeros_like(shard.param));
        exp_avg_sq_.push_back(at::zeros_like(shard.param));
    }
    steps_taken_ = at::zeros({}, shards.front().param.options());
}

void AdamW::step(std::span<units::FlatShard> shards, double lr, const at::Tensor& divisor,
                 const at::Tensor& skip) {
    std::vector<at::Tensor> values, gradients;
    for (const units::FlatShard& shard : shards) {
        values.push_back(shard.param);
        gradients.push_back(shard.grad);
    }
    steps_taken_.add_(-skip + 1);
    const std::vector<at::Tensor> steps(shards.size(), steps_taken_);
    const auto run = [&](auto&& fused) {
        fused(values, gradients, exp_avg_, exp_avg_sq_, at::TensorList(), steps, lr,
              settings_.beta1, settings_.beta2, settings_.weight_decay, settings_.eps,
              /*amsgrad=*/false, /*maximize=*/false, divisor, skip);
    };
    if (settings_.name == config::OptimizerName::kAdamW) {
        run([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
    } else {
        run([](auto&&... arguments) { at::_fused_adam_(arguments...); });
    }
}

int64_t AdamW::steps_taken() const { return static_cast<int64_t>(steps_taken_.item<float>()); }

void AdamW::set_steps_taken(int64_t steps) { steps_taken_.fill_(static_cast<double>(steps)); }

ClippedNorm clip_by_global_norm(const at::Tensor& norm, double max_norm) {
    return {.norm = norm,
            .divisor = ((norm + 1e-6) / max_norm).clamp_min(1.0),
            .skip = at::logical_not(at::isfinite(norm)).to(at::kFloat)};
}

}  // namespace flux::optim
