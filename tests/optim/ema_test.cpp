// The average of the weights: its values, and how it stands in for them.
#include "flux/optim/ema.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>

#include <new>
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

/// Host memory that runs out after so many more tensors, while it lives.
class LittleMemory final : public c10::Allocator {
public:
    explicit LittleMemory(int tensors) : left_(tensors) { c10::SetCPUAllocator(this, kPriority); }
    ~LittleMemory() override { c10::SetCPUAllocator(&usual_, kPriority); }
    void use_up() { left_ = 0; }

    c10::DataPtr allocate(size_t size) override {
        if (left_ == 0) {
            throw std::bad_alloc();
        }
        --left_;
        return usual_.allocate(size);
    }
    c10::DeleterFnPtr raw_deleter() const override { return usual_.raw_deleter(); }
    void copy_data(void* to, const void* from, size_t size) const override {
        default_copy_data(to, from, size);
    }

private:
    static constexpr uint8_t kPriority = 100;
    c10::Allocator& usual_ = *c10::GetCPUAllocator();
    int left_;
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
    // Each update rounds twice in fp32; of an earlier one 0.9 is left after each.
    const double rounding = 1.2e-7 / (1 - kDecay) * expected.abs().max().item<double>();
    EXPECT_LT((ema.values()[0] - expected).abs().max().item<double>(), rounding);
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

TEST(Ema, LeavesTheWeightsWholeWhereMemoryRunsOut) {
    at::Tensor slots[2];
    const std::vector<units::Parameter> first{{"a", {5, 7}, units::Init::normal(1.0), &slots[0]}},
        second{{"b", {3, 2}, units::Init::normal(1.0), &slots[1]}};
    units::ParameterStore store{std::vector<std::span<const units::Parameter>>{first, second}, {}};
    store.initialize(3);
    ASSERT_EQ(store.shards().size(), 2u);
    Ema ema(0.5, store.shards());
    ema.begin(store.shards());
    std::vector<at::Tensor> trained;
    for (const units::FlatShard& shard : store.shards()) {
        shard.param.mul_(3);
        trained.push_back(shard.param.clone());
    }
    const auto expect_whole = [&](int tensors) {
        for (size_t i = 0; i < trained.size(); ++i) {
            EXPECT_TRUE(store.shards()[i].param.equal(trained[i])) << tensors << " tensors";
        }
    };
    // Anywhere on the way there; then on the way back.
    bool used = false;
    for (int tensors = 0; !used && tensors < 100; ++tensors) {
        try {
            LittleMemory memory(tensors);
            used = with_average(&ema, store, [&] {
                memory.use_up();
                return true;
            });
        } catch (const std::bad_alloc&) {
        }
        expect_whole(tensors);
    }
    EXPECT_TRUE(used);
}

}  // namespace
}  // namespace flux::optim
