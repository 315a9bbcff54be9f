#include "flux/optim/adamw.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace flux::optim {
namespace {

std::vector<units::FlatShard> one_shard(const at::Tensor& gradient) {
    units::FlatShard shard;
    const int64_t numel = gradient.numel();
    shard.param = at::full({numel}, 0.5);
    shard.gradients = {{.offset = 0, .values = gradient.clone()}};
    return {shard};
}

/// Of both kinds of operations.
class AdamWSteps : public testing::TestWithParam<kernels::Path> {};

INSTANTIATE_TEST_SUITE_P(Paths, AdamWSteps,
                         testing::Values(kernels::Path::kTwin, kernels::Path::kFused));

at::Tensor scalar(double value) { return at::full({}, value, at::kFloat); }

TEST_P(AdamWSteps, FirstStepByHand) {
    auto shards = one_shard(at::full({3}, 2.0));
    config::Optimizer settings;
    settings.weight_decay = 0.1;
    AdamW optimizer(settings, shards, GetParam());
    optimizer.step(shards, scalar(0.01), scalar(1), scalar(0));
    // Bias correction makes the first update lr * sign(gradient).
    EXPECT_NEAR(shards[0].param[0].item<double>(), 0.5 * (1 - 0.01 * 0.1) - 0.01, 1e-6);
    EXPECT_EQ(optimizer.steps_taken(), 1);
}

TEST_P(AdamWSteps, DivisorScalesTheGradient) {
    auto shards = one_shard(at::full({3}, 2.0));
    AdamW optimizer({}, shards, GetParam());
    optimizer.step(shards, scalar(0.01), scalar(4), scalar(0));
    EXPECT_NEAR(optimizer.exp_avg()[0][0].item<double>(), 0.1 * 0.5, 1e-7);
}

ClippedNorm clip_alone(const std::vector<units::FlatShard>& shards, double max_norm) {
    const auto alone = dist::make_lone_communicator();
    return clip_by_global_norm(units::global_grad_norm(shards, *alone), max_norm);
}

TEST_P(AdamWSteps, SkippedStepChangesNothing) {
    auto shards = one_shard(at::full({3}, std::numeric_limits<float>::quiet_NaN()));
    AdamW optimizer({}, shards, GetParam());
    const at::Tensor before = shards[0].param.clone();
    const std::vector copies{before.to(at::kBFloat16)};
    const ClippedNorm clipped = clip_alone(shards, 1.0);
    EXPECT_EQ(clipped.skip.item<double>(), 1);
    optimizer.step(shards, scalar(0.01), clipped.divisor, clipped.skip, copies);
    EXPECT_TRUE(shards[0].param.equal(before));
    EXPECT_TRUE(copies[0].equal(before.to(at::kBFloat16)));
    EXPECT_TRUE((optimizer.exp_avg()[0] == 0).all().item<bool>());
    EXPECT_EQ(optimizer.steps_taken(), 0);
}

/// The same steps element by element in fp64.
at::Tensor plain_steps(const config::Optimizer& settings, at::Tensor value,
                       const std::vector<at::Tensor>& gradients, const at::Tensor& weight_decay) {
    constexpr double kLr = 0.01;
    at::Tensor mean = at::zeros_like(value), square = at::zeros_like(value);
    for (size_t i = 0; i < gradients.size(); ++i) {
        const auto step = static_cast<double>(i + 1);
        at::Tensor gradient = gradients[i].to(at::kDouble);
        if (settings.name == config::OptimizerName::kAdam) {
            gradient = gradient + weight_decay * value;
        } else {
            value = value * (-weight_decay * kLr + 1);
        }
        mean = mean * settings.beta1 + gradient * (1 - settings.beta1);
        square = square * settings.beta2 + gradient.square() * (1 - settings.beta2);
        const at::Tensor root =
            (square / (1 - std::pow(settings.beta2, step))).sqrt() + settings.eps;
        value = value - mean / (1 - std::pow(settings.beta1, step)) / root * kLr;
    }
    return value;
}

/// A unit of three parameters with gaps between them, of which the second does not decay; this
/// process holds the elements from `begin` on. Gradients have one sum, or one a segment.
units::FlatShard three_parameters(int64_t begin, int64_t numel, bool sums_by_segment) {
    units::FlatShard shard;
    shard.segments = {{.name = "a", .shape = {100}, .offset = 0, .numel = 100},
                      {.name = "b", .shape = {50}, .offset = 128, .numel = 50, .decays = false},
                      {.name = "c", .shape = {64}, .offset = 192, .numel = 64}};
    shard.size = 256;
    shard.begin = begin;
    shard.param = at::zeros({numel});
    if (!sums_by_segment) {
        shard.gradients = {{.offset = 0, .values = at::zeros({numel})}};
    }
    for (const units::Segment& segment : shard.segments) {
        const units::LocalPart part = units::local_part(shard, segment);
        part.of(shard.param).normal_();
        if (sums_by_segment && part.numel() > 0) {
            shard.gradients.push_back({.offset = part.offset, .values = at::zeros({part.numel()})});
        }
    }
    return shard;
}

/// Five steps on these parameters, beside the plain ones.
void expect_plain_steps(config::Optimizer settings, kernels::Path path,
                        units::FlatShard parameters) {
    settings.weight_decay = 0.5;
    const int64_t numel = parameters.param.numel();
    std::vector<units::FlatShard> shards{std::move(parameters)};
    const units::FlatShard& shard = shards.front();
    std::vector<units::LocalPart> parts;
    for (const units::Segment& segment : shard.segments) {
        if (const units::LocalPart part = units::local_part(shard, segment); part.numel() > 0) {
            parts.push_back(part);
        }
    }
    AdamW optimizer(settings, shards, path);
    at::Tensor weight_decay = at::full({numel}, settings.weight_decay, at::kDouble);
    units::local_part(shard, shard.segments[1]).of(weight_decay).zero_();
    const at::Tensor first = shard.param.to(at::kDouble);
    std::vector<at::Tensor> gradients;
    const std::vector copies{at::full({numel}, 7.0, at::kBFloat16)};
    for (int step = 0; step < 5; ++step) {
        at::Tensor& all = gradients.emplace_back(at::zeros({numel}));
        for (const units::LocalPart& part : parts) {
            part.of(all).copy_(units::gradient_of(shard, part).normal_());
        }
        optimizer.step(shards, scalar(0.01), scalar(1), scalar(0), copies);
    }
    const at::Tensor expected = plain_steps(settings, first, gradients, weight_decay);
    EXPECT_LT((shard.param - expected).abs().max().item<double>(), 1e-5);
    for (const units::LocalPart& part : parts) {
        EXPECT_TRUE(part.of(copies[0]).equal(part.of(shard.param).to(at::kBFloat16)));
    }
}

TEST_P(AdamWSteps, SegmentsWithoutDecayFollowThePlainSteps) {
    for (const auto name : {config::OptimizerName::kAdamW, config::OptimizerName::kAdam}) {
        // Whole, the half that ends in "b", the half that begins in it, and one beyond it.
        const std::pair<int64_t, int64_t> ranges[] = {{0, 256}, {0, 140}, {140, 116}, {192, 64}};
        for (const auto& [begin, numel] : ranges) {
            for (const bool sums_by_segment : {false, true}) {
                SCOPED_TRACE(fmt::format("from {}, sums by segment {}", begin, sums_by_segment));
                config::Optimizer settings;
                settings.name = name;
                expect_plain_steps(settings, GetParam(),
                                   three_parameters(begin, numel, sums_by_segment));
            }
        }
    }
}

TEST_P(AdamWSteps, AdamAddsTheDecayToTheGradient) {
    auto shards = one_shard(at::zeros({3}));
    config::Optimizer settings;
    settings.name = config::OptimizerName::kAdam;
    AdamW optimizer(settings, shards, GetParam());
    optimizer.step(shards, scalar(0.01), scalar(1), scalar(0));
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
