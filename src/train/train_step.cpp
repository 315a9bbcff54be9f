#include "flux/train/train_step.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/stack.h>

#include "flux/flow/flow_matching.h"

namespace flux::train {

StepResult train_step(model::Mmdit& model, optim::AdamW& optimizer, const StepSettings& settings,
                      double lr, const std::function<encoders::MicroBatch()>& next) {
    units::ParameterStore& parameters = model.parameters();
    at::Tensor loss;
    parameters.begin_gradients(settings.micro_batches);
    for (int64_t i = 0; i < settings.micro_batches; ++i) {
        const encoders::FlowProblem problem = encoders::pose(next());
        const at::Tensor prediction = model.forward(problem.input);
        const at::Tensor share = flow::per_sample_loss(prediction, problem.target).sum() /
                                 static_cast<double>(settings.global_batch_size);
        loss = loss.defined() ? loss + share : share;
        model.backward(flow::loss_gradient(prediction, problem.target, settings.global_batch_size));
    }
    parameters.finish_gradients();
    // Loss, stop request and bad samples share one message.
    const auto bad = settings.bad_samples ? static_cast<double>(settings.bad_samples()) : 0.0;
    const at::Tensor sums =
        at::stack({loss, at::full({}, settings.stop_requested ? 1.0 : 0.0, loss.options()),
                   at::full({}, bad, loss.options())});
    parameters.mesh().world().all_reduce(sums).wait();
    loss = sums[0];
    const optim::ClippedNorm clipped =
        optim::clip_by_global_norm(parameters.grad_norm(), settings.max_norm);
    at::Tensor skip =
        at::maximum(clipped.skip, at::isfinite(loss).logical_not().to(clipped.skip.options()));
    if (settings.rehearsal) {
        skip = at::ones_like(skip);
    }
    optimizer.step(parameters.shards(), at::full({}, lr, skip.options()), clipped.divisor, skip);
    parameters.parameters_changed();
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
