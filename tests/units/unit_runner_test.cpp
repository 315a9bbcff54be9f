// The runner against the same chain of units in one plain autograd graph.
#include "flux/units/unit_runner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include "units/toy_units.h"

namespace flux::units {
namespace {

constexpr size_t kUnits = 6;

/// Gradients of all parameters by one graph over all units, in order.
std::vector<at::Tensor> plain_gradients(const at::Tensor& x, const at::Tensor& output_gradient) {
    auto units = toy_units(kUnits);
    std::vector<std::span<const Parameter>> lists;
    for (const auto& unit : units) {
        lists.emplace_back(unit->parameters());
    }
    ParameterStore store(lists, {});
    store.initialize(3);
    std::vector<at::Tensor> inputs;
    ToyState state{.x = x, .shared = {}};
    for (size_t i = 0; i < units.size(); ++i) {
        store.acquire(i);
        inputs.insert(inputs.end(), store.tensors(i).begin(), store.tensors(i).end());
    }
    for (const auto& unit : units) {
        state = unit->forward(state, nullptr);
    }
    return differentiate({state.x}, inputs, {output_gradient});
}

class RunnerSchedules : public testing::TestWithParam<std::tuple<double, int64_t>> {};

TEST_P(RunnerSchedules, EqualOneGraphToTheBit) {
    const auto [fraction, slabs] = GetParam();
    const at::Tensor x = at::randn({3, 5});
    const at::Tensor output_gradient = at::randn({3, 5});
    UnitRunner<ToyState> runner(toy_units(kUnits), {.slabs = slabs}, RecomputePolicy{fraction});
    runner.store().initialize(3);
    runner.forward_for_backward({.x = x, .shared = {}});
    runner.store().begin_gradients();
    runner.backward({output_gradient, {}});
    const auto expected = plain_gradients(x, output_gradient);
    const auto actual = runner_gradients(runner);
    ASSERT_EQ(actual.size(), expected.size());
    for (size_t i = 0; i < actual.size(); ++i) {
        EXPECT_TRUE(actual[i].equal(expected[i])) << i;
    }
}

INSTANTIATE_TEST_SUITE_P(All, RunnerSchedules,
                         testing::Combine(testing::Values(0.0, 0.5, 1.0),
                                          testing::Values(0, 1, 2, 4)));

// The schedule must not matter at all.
TEST(UnitRunner, SchedulesAgreeToTheBit) {
    const at::Tensor x = at::randn({3, 5});
    std::vector<std::vector<at::Tensor>> all;
    for (const auto& [fraction, slabs] :
         {std::pair(0.0, 0), std::pair(1.0, 0), std::pair(0.3, 1), std::pair(1.0, 2)}) {
        UnitRunner<ToyState> runner(toy_units(kUnits), {.slabs = slabs}, RecomputePolicy{fraction});
        runner.store().initialize(3);
        const ToyState out = runner.forward_for_backward({.x = x, .shared = {}});
        runner.store().begin_gradients();
        runner.backward({out.x, {}});
        all.push_back(runner_gradients(runner));
    }
    for (const auto& other : all) {
        for (size_t i = 0; i < other.size(); ++i) {
            EXPECT_TRUE(other[i].equal(all.front()[i]));
        }
    }
}

/// x <- x * (weight + 2 x'), where x' carries no gradient and may be recalled.
class RecallingUnit final : public Unit<ToyState> {
public:
    RecallingUnit(const std::string& name, int64_t width, int& computed) : computed_(computed) {
        scope(name).add("weight", weight_, {width}, Init::normal(0.5));
    }

    ToyState forward(const ToyState& in, kernels::Memo* memo) const override {
        ToyState out = in;
        const auto known = kernels::recall(memo, 1, [&] {
            ++computed_;
            return std::vector<at::Tensor>{2 * in.x.detach()};
        });
        out.x = in.x * (weight_ + known[0]);
        return out;
    }

private:
    int& computed_;
    at::Tensor weight_;
};

TEST(UnitRunner, WhatTheFirstRunLeavesIsNotComputedAgain) {
    const at::Tensor x = at::randn({3, 5});
    std::vector<std::vector<at::Tensor>> all;
    const struct {
        RecomputePolicy policy;
        int computed;
    } cases[] = {{RecomputePolicy::none(), 4},
                 {{.fraction = 1.0, .keeps_results = true}, 4},
                 {{.fraction = 1.0, .keeps_results = false}, 8},
                 {{.fraction = 0.5, .keeps_results = false}, 6}};
    for (const auto& [policy, expected] : cases) {
        int computed = 0;
        UnitRunner<ToyState>::UnitList units;
        for (int i = 0; i < 4; ++i) {
            units.push_back(
                std::make_unique<RecallingUnit>("unit" + std::to_string(i), 5, computed));
        }
        UnitRunner<ToyState> runner(std::move(units), {}, policy);
        runner.store().initialize(3);
        const ToyState out = runner.forward_for_backward({.x = x, .shared = {}});
        runner.store().begin_gradients();
        runner.backward({out.x, {}});
        EXPECT_EQ(computed, expected) << policy.fraction << " " << policy.keeps_results;
        all.push_back(runner_gradients(runner));
        for (size_t i = 0; i < all.back().size(); ++i) {
            EXPECT_TRUE(all.back()[i].equal(all.front()[i]));
        }
    }
}

TEST(UnitRunner, AddsMicroBatches) {
    const at::Tensor x = at::randn({4, 5});
    UnitRunner<ToyState> runner(toy_units(kUnits), {}, RecomputePolicy::none());
    runner.store().initialize(3);
    const auto run = [&](const at::Tensor& rows) {
        runner.forward_for_backward({.x = rows, .shared = {}});
        runner.backward({rows * 0 + 1, {}});
    };
    runner.store().begin_gradients();
    run(x);
    const auto whole = runner_gradients(runner);
    runner.store().begin_gradients();
    run(x.narrow(0, 0, 1));
    run(x.narrow(0, 1, 3));
    const auto parts = runner_gradients(runner);
    for (size_t i = 0; i < whole.size(); ++i) {
        // Values of which little is left when sums cancel are as exact as the largest one.
        const double largest = whole[i].abs().max().item<double>();
        EXPECT_TRUE(parts[i].allclose(whole[i], 0, 1e-5 * largest)) << i;
    }
}

TEST(UnitRunner, RefusesParametersChangedBetweenForwardAndBackward) {
    UnitRunner<ToyState> runner(toy_units(2), {}, RecomputePolicy::none());
    runner.store().initialize(3);
    const ToyState out = runner.forward_for_backward({.x = at::randn({3, 5}), .shared = {}});
    runner.store().parameters_changed();
    EXPECT_THROW(runner.backward({out.x, {}}), c10::Error);
}

TEST(RecomputePolicy, SpreadsEvenly) {
    const auto count = [](RecomputePolicy policy, size_t units) {
        size_t recomputed = 0;
        for (size_t i = 0; i < units; ++i) {
            recomputed += policy.recomputes(i) ? 1 : 0;
        }
        return recomputed;
    };
    EXPECT_EQ(count(RecomputePolicy::none(), 59), 0u);
    EXPECT_EQ(count(RecomputePolicy::full(), 59), 59u);
    EXPECT_EQ(count(RecomputePolicy::every_nth(2), 59), 29u);
    EXPECT_EQ(count(RecomputePolicy::every_nth(3), 9), 3u);
    EXPECT_EQ(count(RecomputePolicy{0.25}, 8), 2u);
}

}  // namespace
}  // namespace flux::units
