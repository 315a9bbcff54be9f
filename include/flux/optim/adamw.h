// AdamW (decoupled weight decay) and Adam (decay added to the gradient) on flat shards.
#pragma once

#include <ATen/core/Tensor.h>

#include <span>
#include <vector>

#include "flux/config/job_config.h"
#include "flux/kernels/fused_step.h"
#include "flux/units/parameter_store.h"

namespace flux::optim {

class AdamW {
public:
    /// Moments start at zero. Weight decay applies to the segments that decay: by default all, as
    /// in the reference.
    AdamW(const config::Optimizer& settings, std::span<const units::FlatShard> shards,
          kernels::Path path = kernels::Path::kFused);

    /// One step with the learning rate `lr` and the shards' gradients divided by `divisor` (the
    /// gradients may be changed). When `skip` is 1 nothing changes: neither values nor copies nor
    /// moments nor the step count. All three are fp32 scalar tensors beside the shards. `copies`:
    /// of the shards' values, written along (units::ParameterStore::copies()); may be empty.
    void step(std::span<units::FlatShard> shards, const at::Tensor& lr, const at::Tensor& divisor,
              const at::Tensor& skip, std::span<const at::Tensor> copies = {});

    /// fp32 moments, one flat tensor a shard.
    std::vector<at::Tensor>& exp_avg() { return exp_avg_; }
    std::vector<at::Tensor>& exp_avg_sq() { return exp_avg_sq_; }

    /// Number of steps taken, skipped ones not counted.
    int64_t steps_taken() const;
    void set_steps_taken(int64_t steps);

private:
    /// Elements of a shard one after the other, with the gaps between segments.
    struct Run {
        size_t shard;
        int64_t offset;
        int64_t numel;
    };
    void add_runs(const units::FlatShard& shard, size_t index);
    std::vector<kernels::AdamRun> with_gradients(const std::vector<Run>& of,
                                                 std::span<const units::FlatShard> shards,
                                                 std::span<const at::Tensor> copies) const;

    config::Optimizer settings_;
    kernels::Path path_;
    std::vector<Run> decaying_;   // of all shards, each as long as can be
    std::vector<Run> undecayed_;  // those without weight decay
    std::vector<at::Tensor> exp_avg_;
    std::vector<at::Tensor> exp_avg_sq_;
    at::Tensor
        steps_taken_;  // fp32 scalar on the device: a skipped step needs no word from the host
};

struct ClippedNorm {
    at::Tensor norm;  // before clipping, fp32 scalar
    at::Tensor
        divisor;  // >= 1: what the gradients are divided by so that the norm is at most max_norm
    at::Tensor skip;  // 1 when the norm is not finite, else 0
};

/// Clipping by the global norm of all gradients (units::global_grad_norm): gradients *= min(1,
/// max_norm / (norm + 1e-6)); nothing is read back by the host.
ClippedNorm clip_by_global_norm(const at::Tensor& norm, double max_norm);

}  // namespace flux::optim
