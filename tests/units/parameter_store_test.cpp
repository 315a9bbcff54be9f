// What the store holds, hands out and sums, in one process.
#include "flux/units/parameter_store.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <functional>

#include "flux/kernels/fused.h"
#include "units/toy_units.h"

namespace flux::units {
namespace {

constexpr size_t kUnits = 6;

TEST(ParameterStore, SlabsFollowChangedValues) {
    auto units = toy_units(2);
    ParameterStore store({units[0]->parameters(), units[1]->parameters()}, {.slabs = 1});
    store.initialize(3);
    store.acquire(0);
    EXPECT_TRUE(store.tensors(0)[0].equal(store.parameter("unit0.weight")));
    store.parameter("unit0.weight").add_(1);
    store.parameters_changed();
    store.acquire(1);
    EXPECT_TRUE(store.tensors(1)[0].equal(store.parameter("unit1.weight")));
    store.acquire(0);
    EXPECT_TRUE(store.tensors(0)[0].equal(store.parameter("unit0.weight")));
}

TEST(ParameterStore, CopiesWrittenAlongAreNotMadeAgain) {
    auto units = toy_units(2);
    ParameterStore store({units[0]->parameters(), units[1]->parameters()},
                         {.compute_dtype = at::kBFloat16});
    store.initialize(3);
    const auto expect_rounded = [&](size_t unit) {
        store.acquire(unit);
        const std::string name = "unit" + std::to_string(unit) + ".weight";
        EXPECT_TRUE(store.tensors(unit)[0].equal(store.parameter(name).to(at::kBFloat16)));
    };
    expect_rounded(0);
    const auto copies = store.copies();  // of the second too, which nobody has gathered
    ASSERT_EQ(copies.size(), 2u);
    for (size_t unit = 0; unit < 2; ++unit) {
        EXPECT_TRUE(copies[unit].equal(store.shards()[unit].param.to(at::kBFloat16)));
    }
    for (const FlatShard& shard : store.shards()) {
        shard.param.add_(1);
    }
    copies[0].fill_(5);
    copies[1].fill_(6);
    store.parameters_changed(/*copied=*/true);
    store.acquire(0);
    store.acquire(1);
    EXPECT_TRUE((store.tensors(0)[0] == 5).all().item<bool>());
    EXPECT_TRUE((store.tensors(1)[0] == 6).all().item<bool>());
    store.parameters_changed();  // others do not write them
    expect_rounded(0);
    expect_rounded(1);
}

TEST(ParameterStore, HasNoCopiesWhereSlabsAreSharedOrNotNeeded) {
    for (const StoreSettings& settings :
         {StoreSettings{.compute_dtype = at::kBFloat16, .slabs = 1}, StoreSettings{}}) {
        auto units = toy_units(2);
        ParameterStore store({units[0]->parameters(), units[1]->parameters()}, settings);
        store.initialize(3);
        store.acquire(1);
        for (const at::Tensor& copy : store.copies()) {
            EXPECT_FALSE(copy.defined());
        }
        store.parameter("unit1.weight").add_(1);
        store.parameters_changed(/*copied=*/true);
        store.acquire(1);
        EXPECT_TRUE(
            store.tensors(1)[0].equal(store.parameter("unit1.weight").to(settings.compute_dtype)));
    }
}

TEST(ParameterStore, PatternsSayWhatDoesNotDecay) {
    auto units = toy_units(2);
    const ParameterStore store({units[0]->parameters(), units[1]->parameters()},
                               {.no_weight_decay = {"unit1.*", "*.bias"}});
    EXPECT_TRUE(store.find("unit0.weight").second.decays);
    for (const char* name : {"unit0.bias", "unit1.weight", "unit1.bias"}) {
        EXPECT_FALSE(store.find(name).second.decays) << name;
    }
}

TEST(ParameterStore, UnitsReadTheShardsThemselvesWhereNoCopyIsNeeded) {
    auto units = toy_units(1);
    ParameterStore store({units[0]->parameters()}, {});
    store.initialize(3);
    store.acquire(0);
    EXPECT_EQ(store.tensors(0)[0].const_data_ptr(),
              store.parameter("unit0.weight").const_data_ptr());
    auto others = toy_units(1);
    ParameterStore mixed({others[0]->parameters()}, {.compute_dtype = at::kBFloat16});
    EXPECT_EQ(mixed.shards()[0].param.scalar_type(), at::kFloat);
    EXPECT_EQ(mixed.tensors(0)[0].scalar_type(), at::kBFloat16);
}

TEST(ParameterStore, WithoutTrainingHoldsTheComputeDtypeAndNoGradients) {
    auto units = toy_units(1);
    ParameterStore store({units[0]->parameters()},
                         {.compute_dtype = at::kBFloat16, .trainable = false});
    EXPECT_EQ(store.shards()[0].param.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(store.shards()[0].gradients.empty());
    EXPECT_FALSE(store.tensors(0)[0].requires_grad());
    EXPECT_EQ(store.tensors(0)[0].const_data_ptr(),
              store.parameter("unit0.weight").const_data_ptr());
}

TEST(ParameterStore, GradientsTakeMemoryFromBackwardUntilTheyAreDropped) {
    const at::Tensor x = at::randn({4, 5}), last = at::randn({4, 5});
    for (const bool host_shards : {false, true}) {
        UnitRunner<ToyState> runner(toy_units(kUnits), {.host_shards = host_shards},
                                    RecomputePolicy::full());
        ParameterStore& store = runner.store();
        store.initialize(3);
        EXPECT_ANY_THROW(store.grad_norm());
        std::vector<at::Tensor> first;
        for (int pass = 0; pass < 2; ++pass) {
            store.begin_gradients();
            runner.forward_for_backward({x, {}});
            EXPECT_EQ(store.shards()[0].gradients.empty(), !(host_shards && pass == 1));
            runner.backward({last, {}});
            store.finish_gradients();
            const std::vector<at::Tensor> gradients = runner_gradients(runner);
            if (pass == 0) {
                first = gradients;
            }
            for (size_t i = 0; i < first.size(); ++i) {
                EXPECT_TRUE(gradients[i].equal(first[i])) << i;
            }
            store.drop_gradients();
            EXPECT_EQ(store.shards()[0].gradients.empty(), !host_shards);
        }
    }
}

/// Gradients of a unit of four channels, and their sums.
class GradientSums : public testing::Test {
protected:
    std::vector<at::Tensor> sums() const {
        std::vector<at::Tensor> found;
        for (const Segment& segment : store_.shards()[0].segments) {
            found.push_back(store_.gradient(segment.name));
        }
        return found;
    }
    /// Adds what is made here, and by nobody else seen.
    template <class... Make>
    void add(const Make&... make) {
        store_.add_gradients(0, std::vector<at::Tensor>{make()...});
    }

    UnitRunner<ToyState>::UnitList units_ = toy_units(1, 4);
    ParameterStore store_{{units_[0]->parameters()}, {}};
};

at::Tensor none() { return {}; }

TEST_F(GradientSums, AreWhatBackwardMade) {
    const at::Tensor weight = store_.tensors(0)[0], bias = store_.tensors(0)[1];
    const auto plain = [&](const at::Tensor& x) { return at::linear(x, weight, bias); };
    const auto fused = [&](const at::Tensor& x) {
        const kernels::LinearInput input{.x = x};
        return kernels::linear(kernels::Path::kFused, {&input, 1}, weight) + bias;
    };
    const std::function<at::Tensor(const at::Tensor&)> layers[] = {plain, fused};
    for (const auto& layer : layers) {
        const at::Tensor y = layer(at::ones({1, 3, 4}));
        std::vector<at::Tensor> found = differentiate({y}, {weight, bias}, {at::ones_like(y)});
        const void* const memory[] = {found[0].const_data_ptr(), found[1].const_data_ptr()};
        store_.begin_gradients();
        store_.add_gradients(0, std::move(found));
        EXPECT_EQ(sums()[0].const_data_ptr(), memory[0]);
        EXPECT_EQ(sums()[1].const_data_ptr(), memory[1]);
        EXPECT_TRUE((sums()[0] == 3).all().item<bool>());
        EXPECT_TRUE((sums()[1] == 3).all().item<bool>());
    }
}

TEST_F(GradientSums, LeaveAloneWhatOthersSee) {
    const at::Tensor weight = at::ones({4, 4}), bias = at::ones({4});
    store_.begin_gradients(2);
    for (int i = 0; i < 2; ++i) {
        store_.add_gradients(0, {weight, bias});
    }
    EXPECT_TRUE((sums()[0] == 2).all().item<bool>());
    EXPECT_TRUE((sums()[1] == 2).all().item<bool>());
    EXPECT_TRUE((weight == 1).all().item<bool>());
    EXPECT_TRUE((bias == 1).all().item<bool>());
}

TEST_F(GradientSums, AreDenseInFp32WhateverComes) {
    const at::Tensor larger = at::ones({9, 4, 4});
    const std::function<at::Tensor()> makers[] = {[&] { return larger[4]; },
                                                  [] {
                                                      return at::ones({9, 4, 4})[4];
                                                  },
                                                  [] {
                                                      return at::ones({4, 4}, at::kBFloat16);
                                                  },
                                                  [] {
                                                      return at::ones({4, 4}).t();
                                                  },
                                                  [] {
                                                      return at::ones({1, 1}).expand({4, 4});
                                                  }};
    for (const auto& make : makers) {
        store_.begin_gradients(2);
        add(make, none);
        add(make, [] { return at::full({4}, 5.0); });
        EXPECT_EQ(sums()[0].scalar_type(), at::kFloat);
        EXPECT_EQ(sums()[0].storage().nbytes(), sums()[0].nbytes());
        EXPECT_TRUE((sums()[0] == 2).all().item<bool>());
        EXPECT_TRUE((sums()[1] == 5).all().item<bool>());
        EXPECT_TRUE((larger == 1).all().item<bool>());
    }
}

TEST(ParameterStore, HostShardsComeToTheDeviceAUnitAtATime) {
    // "meta" is a device that holds shapes only: no GPU is needed to see what lies where.
    const auto units = toy_units(2);
    ParameterStore store(
        {units[0]->parameters(), units[1]->parameters()},
        {.device = at::kMeta, .slabs = 1, .trainable = false, .host_shards = true});
    for (size_t i = 0; i < units.size(); ++i) {
        EXPECT_TRUE(store.shards()[i].param.is_cpu());
        for (const at::Tensor& tensor : store.tensors(i)) {
            EXPECT_TRUE(tensor.is_meta());
        }
    }
    store.initialize(1);
    EXPECT_NO_THROW(store.acquire(0));
    // Both units use one piece of device memory.
    EXPECT_EQ(store.tensors(0)[0].unsafeGetTensorImpl()->storage().unsafeGetStorageImpl(),
              store.tensors(1)[0].unsafeGetTensorImpl()->storage().unsafeGetStorageImpl());
}

TEST(ParameterStore, HostShardsLieBesideSlabsOnACpuToo) {
    const at::Tensor x = at::randn({4, 5}), last = at::randn({4, 5});
    std::vector<at::Tensor> gradients[2];
    for (const bool host_shards : {false, true}) {
        UnitRunner<ToyState> runner(toy_units(kUnits), {.host_shards = host_shards},
                                    RecomputePolicy::none());
        ParameterStore& store = runner.store();
        store.initialize(3);
        EXPECT_EQ(store.tensors(0)[0].is_alias_of(store.shards()[0].param), !host_shards);
        store.begin_gradients();
        runner.forward_for_backward({x, {}});
        runner.backward({last, {}});
        store.finish_gradients();
        gradients[host_shards ? 1 : 0] = runner_gradients(runner);
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) {
        EXPECT_TRUE(gradients[0][i].equal(gradients[1][i]));
    }
}

TEST(GpuParameterStore, HostShardsGiveTheSameResult) {
    if (!at::globalContext().hasCUDA()) {
        GTEST_SKIP() << "needs a GPU";
    }
    const at::Tensor x = at::randn({4, 5}).to(at::kCUDA);
    at::Tensor results[2];
    for (const bool host_shards : {false, true}) {
        UnitRunner<ToyState> runner(toy_units(kUnits),
                                    {.device = at::kCUDA,
                                     .slabs = host_shards ? 1 : 0,
                                     .trainable = false,
                                     .host_shards = host_shards},
                                    RecomputePolicy::none());
        runner.store().initialize(3);
        results[host_shards ? 1 : 0] = runner.forward({x, {}}).x;
    }
    EXPECT_TRUE(results[0].equal(results[1]));
}

TEST(ParameterStore, FirstValuesDependOnSeedAndNameOnly) {
    auto two = toy_units(2);
    auto three = toy_units(3);
    ParameterStore small({two[0]->parameters(), two[1]->parameters()}, {});
    ParameterStore large({three[2]->parameters(), three[1]->parameters(), three[0]->parameters()},
                         {});
    small.initialize(3);
    large.initialize(3);
    EXPECT_TRUE(small.parameter("unit1.weight").equal(large.parameter("unit1.weight")));
    EXPECT_FALSE(small.parameter("unit1.weight").equal(small.parameter("unit0.weight")));
    large.initialize(4);
    EXPECT_FALSE(small.parameter("unit1.weight").equal(large.parameter("unit1.weight")));
}

}  // namespace
}  // namespace flux::units
