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
        add_runs(shard, exp_avg_.size());
        exp_avg_.push_back(at::zeros_like(shard.param));
        exp_avg_sq_.push_back(at::zeros_like(shard.param));
    }
    steps_taken_ = at::zeros({}, shards.front().param.options());
}

/// Where all segments decay, the whole shard is one run.
void AdamW::add_runs(const units::FlatShard& shard, size_t index) {
    int64_t begin = 0;
    bool decays = true;
    const auto end_run = [&](int64_t end) {
        if (end > begin) {
            (decays ? decaying_ : undecayed_).push_back({index, begin, end - begin});
        }
        begin = end;
    };
    for (const units::Segment& segment : shard.segments) {
        const units::LocalPart part = units::local_part(shard, segment);
        if (part.numel() > 0 && segment.decays != decays) {
            end_run(part.offset);
            decays = segment.decays;
        }
    }
    end_run(shard.param.numel());
}

void AdamW::step(std::span<units::FlatShard> shards, const at::Tensor& lr,
                 const at::Tensor& divisor, const at::Tensor& skip) {
    steps_taken_.add_(-skip + 1);
    const auto update = [&](const std::vector<Run>& runs, double weight_decay) {
        std::vector<at::Tensor> values, gradients, means, squares;
        for (const Run& run : runs) {
            const auto part = [&](const at::Tensor& flat) {
                return flat.narrow(0, run.offset, run.numel);
            };
            values.push_back(part(shards[run.shard].param));
            gradients.push_back(part(shards[run.shard].grad));
            means.push_back(part(exp_avg_[run.shard]));
            squares.push_back(part(exp_avg_sq_[run.shard]));
        }
        const std::vector<at::Tensor> steps(runs.size(), steps_taken_);
        const auto run_fused = [&](auto&& fused) {
            fused(values, gradients, means, squares, at::TensorList(), steps, lr, settings_.beta1,
                  settings_.beta2, weight_decay, settings_.eps, /*amsgrad=*/false,
                  /*maximize=*/false, divisor, skip);
        };
        if (settings_.name == config::OptimizerName::kAdamW) {
            run_fused([](auto&&... arguments) { at::_fused_adamw_(arguments...); });
        } else {
            run_fused([](auto&&... arguments) { at::_fused_adam_(arguments...); });
        }
    };
    // Each element is in one run, so both together read everything once.
    if (!decaying_.empty()) {
        update(decaying_, settings_.weight_decay);
    }
    if (!undecayed_.empty()) {
        update(undecayed_, 0.0);
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
