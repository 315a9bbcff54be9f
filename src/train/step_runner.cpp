#include "flux/train/step_runner.h"

#include <ATen/ops/empty.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <array>
#include <bit>
#include <utility>

#include "flux/base/log.h"

namespace flux::train {
namespace {

std::array<at::Tensor*, 5> tensors_of(encoders::MicroBatch& batch) {
    return {&batch.latents, &batch.noise, &batch.timesteps, &batch.text.tokens, &batch.text.pooled};
}

}  // namespace

StepRunner::StepRunner(const StepParts& parts, c10::Device device, bool captures)
    : parts_(parts), device_(device), captures_(captures) {
    if (captures && !device.is_cpu()) {
        stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
    }
}

StepResult StepRunner::step(const StepSettings& settings, double lr, const NextMicroBatch& next) {
    if (!captures_) {
        return train_step(parts_, settings, lr, next);
    }
    std::vector<encoders::MicroBatch> batches;
    for (int64_t i = 0; i < settings.micro_batches; ++i) {
        batches.push_back(next());
    }
    Captured* const captured = find(batches);
    if (captured == nullptr || captured->steps++ < kStepsBeforeGraph) {
        StepResult result;
        beside([&] {
            result = train_step(parts_, settings, lr,
                                [&, i = size_t{0}]() mutable { return batches[i++]; });
        });
        return result;
    }
    for (size_t i = 0; i < batches.size(); ++i) {
        const auto from = tensors_of(batches[i]), to = tensors_of(captured->inputs[i]);
        for (size_t k = 0; k < from.size(); ++k) {
            to[k]->copy_(*from[k]);
        }
    }
    captured->numbers->set(settings, lr);
    if (!captured->graph) {
        record(*captured, settings);
    }
    captured->graph->replay();
    // The host's books stand as when the step was recorded: the weights have changed since.
    parts_.model.parameters().parameters_changed();
    ++replayed_;
    return captured->result;
}

StepRunner::Shape StepRunner::shape_of(const std::vector<encoders::MicroBatch>& batches) {
    Shape shape{static_cast<int64_t>(batches.size())};
    for (encoders::MicroBatch batch : batches) {
        shape.push_back(std::bit_cast<int64_t>(batch.guidance));
        for (const at::Tensor* tensor : tensors_of(batch)) {
            shape.push_back(static_cast<int64_t>(tensor->scalar_type()));
            shape.push_back(tensor->dim());
            shape.insert(shape.end(), tensor->sizes().begin(), tensor->sizes().end());
        }
    }
    return shape;
}

/// Null for a shape too many.
StepRunner::Captured* StepRunner::find(const std::vector<encoders::MicroBatch>& batches) {
    const Shape shape = shape_of(batches);
    if (const auto known = captured_.find(shape); known != captured_.end()) {
        return &known->second;
    }
    if (captured_.size() == kMostGraphs) {
        if (!std::exchange(told_of_many_, true)) {
            log::warning(
                "training.compile: there are more than {} shapes of batches; steps of further "
                "ones run operation by operation (a larger training.buckets makes fewer shapes)",
                kMostGraphs);
        }
        return nullptr;
    }
    Captured& captured = captured_[shape];
    for (encoders::MicroBatch batch : batches) {
        for (at::Tensor* tensor : tensors_of(batch)) {
            *tensor = at::empty(tensor->sizes(), tensor->options());
        }
        captured.inputs.push_back(batch);
    }
    captured.numbers.emplace(parts_.model.parameters());
    return &captured;
}

void StepRunner::record(Captured& captured, const StepSettings& settings) {
    // Slabs that hold the present values, from a validation, would not be filled again by a replay.
    parts_.model.parameters().parameters_changed();
    const auto work = [this, &captured, settings] {
        captured.result = compute_step(
            parts_, settings, [&, i = size_t{0}]() mutable { return captured.inputs[i++]; },
            [&]() -> const StepNumbers& { return *captured.numbers; });
    };
    beside([&] {
        captured.graph = std::make_unique<kernels::DeviceGraph>(device_, work, first_graph_);
    });
    if (first_graph_ == nullptr) {
        first_graph_ = captured.graph.get();
    }
    const at::Tensor& latents = captured.inputs.front().latents;
    log::info("training.compile: steps with latents of {} x {} are a graph from now on",
              latents.size(2), latents.size(3));
}

/// Runs `work` on the stream that records, in turn with the current one.
template <class Work>
void StepRunner::beside(const Work& work) {
    if (!stream_) {
        work();
        return;
    }
    const c10::Stream current = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    const auto wait = [&](const c10::Stream& waits, const c10::Stream& for_it) {
        c10::Event reached(device_.type());
        reached.record(for_it);
        reached.block(waits);
    };
    wait(*stream_, current);
    {
        const c10::StreamGuard guard(*stream_);
        work();
    }
    wait(current, *stream_);
}

}  // namespace flux::train
