#include "flux/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>

#include "flux/flow/flow_matching.h"

namespace flux::train {

StepNumbers::StepNumbers(const units::ParameterStore& parameters) {
    const auto beside = [](const at::Tensor& tensor) {
        return at::zeros({}, tensor.options().dtype(at::kFloat));
    };
    const at::Tensor& shard = parameters.shards().front().param;  // may lie in host memory
    const at::Tensor& weight = parameters.tensors(0).front();
    lr = beside(shard);
    rehearsal = beside(shard);
    stop = beside(weight);
    bad = beside(weight);
}

void StepNumbers::set(const StepSettings& settings, double lr_of_step) {
    lr.fill_(lr_of_step);
    rehearsal.fill_(settings.rehearsal ? 1.0 : 0.0);
    stop.fill_(settings.stop_requested ? 1.0 : 0.0);
    bad.fill_(settings.bad_samples ? static_cast<double>(settings.bad_samples()) : 0.0);
}

StepResult train_step(const StepParts& parts, const StepSettings& settings, double lr,
                      const NextMicroBatch& next) {
    StepNumbers numbers(parts.model.parameters());
    return compute_step(parts, settings, next, [&]() -> const StepNumbers& {
        numbers.set(settings, lr);
        return numbers;
    });
}

StepResult compute_step(const StepParts& parts, const StepSettings& settings,
                        const NextMicroBatch& next,
                        const std::function<const StepNumbers&()>& numbers) {
    units::ParameterStore& parameters = parts.model.parameters();
    at::Tensor loss;
    parameters.begin_gradients(settings.micro_batches);
    for (int64_t i = 0; i < settings.micro_batches; ++i) {
        const encoders::FlowProblem problem = encoders::pose(parts.model.path(), next());
        const at::Tensor prediction = parts.model.forward(problem.input);
        const flow::Loss found = flow::loss_with_gradient(
            parts.model.path(), prediction, problem.target, settings.global_batch_size);
        const at::Tensor share =
            found.per_sample.sum() / static_cast<double>(settings.global_batch_size);
        loss = loss.defined() ? loss + share : share;
        parts.model.backward(found.gradient);
    }
    parameters.finish_gradients();
    const StepNumbers& own = numbers();
    // Loss, stop request and bad samples share one message.
    const at::Tensor sums = at::stack({loss, own.stop, own.bad});
    parameters.mesh().world().all_reduce(sums).wait();
    loss = sums[0];
    const optim::ClippedNorm clipped =
        optim::clip_by_global_norm(parameters.grad_norm(), settings.max_norm);
    const at::Tensor broken = at::isfinite(loss).logical_not().to(clipped.skip.options());
    const at::Tensor skip = at::maximum(at::maximum(clipped.skip, broken), own.rehearsal);
    parts.optimizer.step(parameters.shards(), own.lr, clipped.divisor, skip, parameters.copies());
    if (parts.ema != nullptr) {
        parts.ema->update(parameters.shards(), skip);
    }
    parameters.parameters_changed(/*copied=*/true);
    parameters.drop_gradients();
    return {
        .loss = loss, .grad_norm = clipped.norm, .skipped = skip, .stop = sums[1], .bad = sums[2]};
}

at::Tensor packed(const StepResult& result) {
    // With shards in host memory norm and skip lie there.
    const auto beside = [&](const at::Tensor& scalar) { return scalar.to(result.loss.device()); };
    return at::stack(
        {result.loss, beside(result.grad_norm), beside(result.skipped), result.stop, result.bad});
}

}  // namespace flux::train
