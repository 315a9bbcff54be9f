#include "flux/optim/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace flux::optim {
namespace {

std::vector<units::FlatShard> one_shard(const at::Tensor& gradient) {
    units::FlatShard shard;
    shard.param = at::full({gradient.numel()}, 0.5);
    shard.grad = gradient.clone();
    return {shard};
}

at::Tensor scalar(double value) { return at::full({}, value, at::kFloat); }

TEST(AdamW, FirstStepByHand) {
    auto shards = one_shard(at::full({3}, 2.0));
    config::Optimizer settings;
    settings.weight_decay = 0.1;
    AdamW optimizer(settings, shards);
    optimizer.step(shards, 0.01, scalar(1), scalar(0));
    // Bias correction makes the first update lr * sign(gradient).
    EXPECT_NEAR(shards[0].param[0].item<double>(), 0.5 * (1 - 0.01 * 0.1) - 0.01, 1e-6);
    EXPECT_EQ(optimizer.steps_taken(), 1);
}

TEST(AdamW, DivisorScalesTheGradient) {
    auto shards = one_shard(at::full({3}, 2.0));
    AdamW optimizer({}, shards);
    optimizer.step(shards, 0.01, scalar(4), scalar(0));
    EXPECT_NEAR(optimizer.exp_avg()[0][0].item<double>(), 0.1 * 0.5, 1e-7);
}

ClippedNorm clip_alone(const std::vector<units::FlatShard>& shards, double max_norm) {
    const auto alone = dist::make_lone_communicator();
    return clip_by_global_norm(units::global_grad_norm(shards, *alone), max_norm);
}

TEST(AdamW, SkippedStepChangesNothing) {
    auto shards = one_shard(at::full({3}, std::numeric_limits<float>::quiet_NaN()));
    AdamW optimizer({}, shards);
    const at::Tensor before = shards[0].param.clone();
    const ClippedNorm clipped = clip_alone(shards, 1.0);
    EXPECT_EQ(clipped.skip.item<double>(), 1);
    optimizer.step(shards, 0.01, clipped.divisor, clipped.skip);
    EXPECT_TRUE(shards[0].param.equal(before));
    EXPECT_TRUE((optimizer.exp_avg()[0] == 0).all().item<bool>());
    EXPECT_EQ(optimizer.steps_taken(), 0);
}

TEST(AdamW, AdamAddsTheDecayToTheGradient) {
    auto shards = one_shard(at::zeros({3}));
    config::Optimizer settings;
    settings.name = config::OptimizerName::kAdam;
    AdamW optimizer(settings, shards);
    optimizer.step(shards, 0.01, scalar(1), scalar(0));
    EXPECT_NEAR(optimizer.exp_avg()[0][0].item<double>(), 0.1 * 0.1 * 0.5, 1e-7);
}

TEST(ClipByGlobalNorm, LeavesSmallGradientsAlone) {
    auto shards = one_shard(at::full({4}, 0.25));
    const ClippedNorm clipped = clip_alone(shards, 1.0);
    EXPECT_NEAR(clipped.norm.item<double>(), 0.5, 1e-6);
    EXPECT_EQ(clipped.divisor.item<double>(), 1.0);
    EXPECT_EQ(clipped.skip.item<double>(), 0.0);
}

TEST(ClipByGlobalNorm, JoinsShards) {
    auto shards = one_shard(at::full({9}, 1.0));
    shards.push_back(one_shard(at::full({16}, 1.0)).front());
    EXPECT_NEAR(clip_alone(shards, 1.0).norm.item<double>(), 5, 1e-5);
    EXPECT_NEAR(clip_alone(shards, 2.0).divisor.item<double>(), 2.5, 1e-5);
}

}  // namespace
}  // namespace flux::optim
