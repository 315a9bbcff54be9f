// A step asks the device for nothing and hands it nothing from the host: both would hold up a GPU
// and neither can be part of a graph.
#include <ATen/ops/zeros.h>
#include <ATen/record_function.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "flux/flow/flow_matching.h"
#include "flux/model/layers.h"
#include "flux/model/rope.h"
#include "flux/train/train_step.h"
#include "support/tiny_model.h"
#include "train/small_step.h"

namespace flux::train {
namespace {

model::FluxConfig dimensions() { return test::small_dimensions(1, 1); }

/// Names of the operations called while it lives, on any thread, that do what must not be done.
class Watch {
public:
    using Rule = bool (*)(const at::RecordFunction&);
    explicit Watch(Rule rule) {
        rule_ = rule;
        found_.clear();
        handle_ = at::addGlobalCallback(
            at::RecordFunctionCallback(&begins, &ends)
                .needsInputs(true)
                .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
    }
    ~Watch() { at::removeCallback(handle_); }
    Watch(const Watch&) = delete;
    Watch& operator=(const Watch&) = delete;

    std::set<std::string> found() const {
        const std::lock_guard lock(mutex_);
        return found_;
    }

private:
    static std::unique_ptr<at::ObserverContext> begins(const at::RecordFunction& call) {
        const std::string_view name = call.name();
        // On a CPU ATen's kernel reads the learning rate; that for GPUs leaves it where it is.
        inside_adam_ += name.starts_with("aten::_fused_adam");
        if (inside_adam_ == 0 && rule_(call)) {
            const std::lock_guard lock(mutex_);
            found_.emplace(name);
        }
        return nullptr;
    }
    static void ends(const at::RecordFunction& call, at::ObserverContext*) {
        inside_adam_ -= std::string_view(call.name()).starts_with("aten::_fused_adam");
    }

    static inline Rule rule_ = nullptr;
    static inline std::set<std::string> found_;
    static inline std::mutex mutex_;
    static inline thread_local int inside_adam_ = 0;
    at::CallbackHandle handle_ = 0;
};

/// Waits on a GPU.
bool asks(const at::RecordFunction& call) {
    static const std::set<std::string_view> names{"aten::item",
                                                  "aten::_local_scalar_dense",
                                                  "aten::is_nonzero",
                                                  "aten::nonzero",
                                                  "aten::equal",
                                                  "aten::masked_select",
                                                  "aten::unique_consecutive",
                                                  "aten::_unique2",
                                                  "aten::repeat_interleave"};
    return names.contains(call.name());
}

TEST(TrainStep, AsksTheDeviceForNothing) {
    for (const bool fused : {true, false}) {
        model::Mmdit model(dimensions(), {}, units::RecomputePolicy{0.5},
                           {.path = fused ? kernels::Path::kFused : kernels::Path::kTwin});
        model.parameters().initialize(1);
        optim::AdamW optimizer({}, model.parameters().shards(), model.path());
        optim::Ema ema(0.9, model.parameters().shards());
        const encoders::MicroBatch batch = drawn_batch(dimensions(), 0);
        const Watch watch(asks);
        const StepResult result =
            train_step({model, optimizer, &ema}, {.global_batch_size = 4, .micro_batches = 2}, 1e-3,
                       [&] { return batch; });
        packed(result);
        EXPECT_THAT(watch.found(), testing::IsEmpty());
    }
}

TEST(TrainStep, TheWatchSeesWhoAsks) {
    const Watch watch(asks);
    EXPECT_EQ(at::zeros({}).item<float>(), 0);
    EXPECT_THAT(watch.found(), testing::Contains("aten::item"));
}

/// Takes a tensor of the host beside, or into, one of the device. A plain number is none, though
/// ATen wraps it: kernels get it as an argument.
bool takes_from_host(const at::RecordFunction& call) {
    for (const c10::IValue& input : call.inputs()) {
        if (!input.isTensor() || !input.toTensor().defined()) {
            continue;
        }
        const at::Tensor& tensor = input.toTensor();
        if (tensor.is_cpu() && tensor.numel() > 0 &&
            !tensor.unsafeGetTensorImpl()->is_wrapped_number()) {
            return true;
        }
    }
    return false;
}

/// The device "meta" computes shapes alone, so that every tensor of the host is one too many. What
/// the blocks do it does not know; this is all around them.
TEST(TrainStep, TakesNothingFromTheHost) {
    const auto rows = at::TensorOptions(at::kMeta).dtype(at::kFloat);
    std::vector<units::FlatShard> shards(1);
    shards[0].param = at::zeros({64}, rows);
    optim::Ema ema(0.9, shards);
    StepResult result;
    result.loss = result.grad_norm = result.skipped = result.stop = result.bad =
        at::zeros({}, rows);
    const encoders::MicroBatch batch = drawn_batch(dimensions(), 0, {}, at::kMeta);
    const Watch watch(takes_from_host);
    const encoders::FlowProblem problem = encoders::pose(kernels::Path::kTwin, batch);
    model::timestep_embedding(problem.input.timesteps);
    model::rotary_table(problem.input.img_ids, dimensions());
    flow::loss_with_gradient(kernels::Path::kTwin, problem.input.img, problem.target, 2);
    ema.update(shards, result.skipped);
    EXPECT_TRUE(packed(result).is_meta());
    EXPECT_THAT(watch.found(), testing::IsEmpty());
}

TEST(TrainStep, TheWatchSeesWhatTheHostGives) {
    const at::Tensor host = at::zeros({3});
    const Watch watch(takes_from_host);
    EXPECT_TRUE(host.to(at::kMeta).is_meta());
    EXPECT_THAT(watch.found(), testing::Not(testing::IsEmpty()));
}

}  // namespace
}  // namespace flux::train
