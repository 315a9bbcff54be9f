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
        const encoders::FlowProblem problem = encoders::pose(model.path(), next());
        const at::Tensor prediction = model.forward(problem.input);
        const flow::Loss found = flow::loss_with_gradient(model.path(), prediction, problem.target,
                                                          settings.global_batch_size);
        const at::Tensor share =
            found.per_sample.sum() / static_cast<double>(settings.global_batch_size);
        loss = loss.defined() ? loss + share : share;
        model.backward(found.gradient);
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
    optimizer.step(parameters.shards(), at::full({}, lr, skip.options()), clipped.divisor, skip,
                   parameters.copies());
    parameters.parameters_changed(/*copied=*/true);
    return {
        .loss = loss, .grad_norm = clipped.norm, .skipped = skip, .stop = sums[1], .bad = sums[2]};
}

}  // namespace flux::train
