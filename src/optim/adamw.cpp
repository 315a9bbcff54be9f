#include "flux/optim/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>

#include <algorithm>

namespace flux::optim {

AdamW::AdamW(const config::Optimizer& settings, std::span<const units::FlatShard> shards,
             kernels::Path path)
    : settings_(settings), path_(path) {
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

/// The elements of `of`, as their gradients lie.
std::vector<kernels::AdamRun> AdamW::with_gradients(const std::vector<Run>& of,
                                                    std::span<const units::FlatShard> shards,
                                                    std::span<const at::Tensor> copies) const {
    std::vector<kernels::AdamRun> runs;
    for (const Run& run : of) {
        const units::FlatShard& shard = shards[run.shard];
        TORCH_CHECK(!shard.gradients.empty(), "no gradients were added");
        for (const units::GradientSum& sum : shard.gradients) {
            const int64_t begin = std::max(run.offset, sum.offset);
            const int64_t end = std::min(run.offset + run.numel, sum.offset + sum.values.numel());
            if (begin >= end) {
                continue;
            }
            const auto part = [&](const at::Tensor& flat) {
                return flat.defined() ? flat.narrow(0, begin, end - begin) : flat;
            };
            runs.push_back({.value = part(shard.param),
                            .gradient = sum.values.narrow(0, begin - sum.offset, end - begin),
                            .mean = part(exp_avg_[run.shard]),
                            .square = part(exp_avg_sq_[run.shard]),
                            .copy = copies.empty() ? at::Tensor() : part(copies[run.shard])});
        }
    }
    return runs;
}

void AdamW::step(std::span<units::FlatShard> shards, const at::Tensor& lr,
                 const at::Tensor& divisor, const at::Tensor& skip,
                 std::span<const at::Tensor> copies) {
    steps_taken_.add_(-skip + 1);
    const auto update = [&](const std::vector<Run>& of, double weight_decay) {
        kernels::adam_(path_,
                       {.beta1 = settings_.beta1,
                        .beta2 = settings_.beta2,
                        .eps = settings_.eps,
                        .weight_decay = weight_decay,
                        .decoupled = settings_.name == config::OptimizerName::kAdamW},
                       {.lr = lr, .steps = steps_taken_, .divisor = divisor, .skip = skip},
                       with_gradients(of, shards, copies));
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
