// The average of the weights: its values, and how it stands in for them.
#include "flux/optim/ema.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace flux::optim {
namespace {

at::Tensor scalar(double value) { return at::full({}, value, at::kFloat); }

/// One unit with one parameter, of one process.
struct Weights {
    at::Tensor slot;
    std::vector<units::Parameter> list{{"weight", {5, 7}, units::Init::normal(1.0), &slot}};
    units::ParameterStore store{std::vector<std::span<const units::Parameter>>{list}, {}};

    Weights() { store.initialize(3); }
    const at::Tensor& flat() { return store.shards().front().param; }
};

TEST(Ema, FollowsTheWeights) {
    constexpr double kDecay = 0.9;
    Weights weights;
    Ema ema(kDecay, weights.store.shards());
    ema.begin(weights.store.shards());
    at::Tensor expected = weights.flat().to(at::kDouble);
    for (int step = 0; step < 20; ++step) {
        weights.flat().add_(at::randn({weights.flat().numel()}));
        ema.update(weights.store.shards(), scalar(0));
        expected = expected * kDecay + weights.flat().to(at::kDouble) * (1 - kDecay);
    }
    EXPECT_LT((ema.values()[0] - expected).abs().max().item<double>(), 1e-6);
}

TEST(Ema, ASkippedStepChangesNoBit) {
    Weights weights;
    Ema ema(0.9, weights.store.shards());
    ema.begin(weights.store.shards());
    const at::Tensor before = ema.values()[0].clone();
    weights.flat().mul_(3);
    ema.update(weights.store.shards(), scalar(1));
    EXPECT_TRUE(ema.values()[0].equal(before));
}

TEST(Ema, StandsInForTheWeightsAndGivesThemBack) {
    Weights weights;
    Ema ema(0.5, weights.store.shards());
    ema.begin(weights.store.shards());
    weights.flat().mul_(3);
    ema.update(weights.store.shards(), scalar(0));
    const at::Tensor trained = weights.flat().clone(), average = ema.values()[0].clone();
    const auto seen = [&] {
        weights.store.acquire(0);
        return weights.slot.detach().view(-1).equal(average.slice(0, 0, weights.slot.numel()));
    };
    EXPECT_TRUE(with_average(&ema, weights.store, seen));
    EXPECT_TRUE(weights.flat().equal(trained));
    EXPECT_TRUE(ema.values()[0].equal(average));
    EXPECT_FALSE(with_average(nullptr, weights.store, seen));
    EXPECT_THROW(
        with_average(&ema, weights.store, []() -> bool { throw std::runtime_error("no room"); }),
        std::runtime_error);
    EXPECT_TRUE(weights.flat().equal(trained));
}

}  // namespace
}  // namespace flux::optim
