// Steps as graphs against steps operation by operation. On a CPU a graph does its work again, so
// that all around it is looked at here.
#include "flux/train/step_runner.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <limits>

#include "flux/kernels/cuda_device.h"
#include "support/tiny_model.h"
#include "train/small_step.h"

namespace flux::train {
namespace {

model::FluxConfig dimensions() { return test::small_dimensions(1, 2); }

/// A model that trains, with a ring of slabs and an average.
struct Training {
    Training(c10::Device where, bool captures)
        : device(where),
          model(dimensions(), settings(where), units::RecomputePolicy{0.5}),
          optimizer({}, model.parameters().shards()),
          ema(0.5, model.parameters().shards()),
          runner({model, optimizer, &ema}, where, captures) {
        test::initialize_off_zero(model.parameters(), 3);
        ema.begin(model.parameters().shards());
    }

    static units::StoreSettings settings(c10::Device device) {
        units::StoreSettings store;
        store.device = device;
        store.slabs = 2;
        store.prefetch = 1;
        return store;
    }

    /// Its scalars on the host.
    at::Tensor step(int64_t number, int64_t width, const StepSettings& more = {}) {
        StepSettings settings = more;
        settings.global_batch_size = 4;
        settings.micro_batches = 2;
        settings.stop_requested = number % 2 == 1;
        settings.bad_samples = [number] { return number; };
        int64_t first = number * 4;
        const StepResult result = runner.step(settings, 1e-3 * static_cast<double>(number), [&] {
            encoders::MicroBatch batch = drawn_batch(dimensions(), first, {.width = width}, device);
            if (number == broken_step) {
                batch.latents.mul_(std::numeric_limits<double>::infinity());
            }
            first += 2;
            return batch;
        });
        return packed(result).cpu();
    }

    /// As a validation between steps.
    at::Tensor predict() {
        const encoders::MicroBatch batch = drawn_batch(dimensions(), 900, {}, device);
        return model.predict(encoders::pose(model.path(), batch).input).cpu();
    }

    c10::Device device;
    model::Mmdit model;
    optim::AdamW optimizer;
    optim::Ema ema;
    StepRunner runner;
    int64_t broken_step = -1;
};

class StepRunnerOn : public testing::TestWithParam<c10::DeviceType> {
protected:
    void SetUp() override {
        if (GetParam() == at::kCUDA) {
            if (const auto problem = kernels::cuda_problem()) {
                GTEST_SKIP() << "needs a GPU: " << *problem;
            }
        }
    }
    c10::Device device() const {
        return c10::Device(GetParam(),
                           GetParam() == at::kCUDA ? c10::DeviceIndex{0} : c10::DeviceIndex{-1});
    }
};

std::vector<at::Tensor> state_of(Training& training) {
    std::vector<at::Tensor> state;
    for (size_t i = 0; i < training.model.parameters().shards().size(); ++i) {
        state.push_back(training.model.parameters().shards()[i].param.clone());
        state.push_back(training.optimizer.exp_avg()[i].clone());
        state.push_back(training.optimizer.exp_avg_sq()[i].clone());
        state.push_back(training.ema.values()[i].clone());
    }
    return state;
}

/// To the bit; a loss that is no number is like any other.
bool same(const at::Tensor& a, const at::Tensor& b) {
    return at::allclose(a, b, /*rtol=*/0, /*atol=*/0, /*equal_nan=*/true);
}

void expect_same(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) {
        EXPECT_TRUE(at::equal(a[i], b[i])) << i;
    }
}

TEST_P(StepRunnerOn, GraphsOfEveryShapeGiveTheSameNumbers) {
    Training graphs(device(), /*captures=*/true), plain(device(), /*captures=*/false);
    graphs.broken_step = plain.broken_step = 9;
    for (int64_t number = 0; number < 12; ++number) {
        const int64_t width = number % 3 == 0 ? 12 : 8;
        EXPECT_TRUE(same(graphs.step(number, width), plain.step(number, width))) << number;
        EXPECT_TRUE(at::equal(graphs.predict(), plain.predict())) << number;
    }
    expect_same(state_of(graphs), state_of(plain));
    // 8 steps of one shape and 4 of the other, each without the first ones.
    EXPECT_EQ(graphs.runner.replayed(), 12 - 2 * kStepsBeforeGraph);
    EXPECT_EQ(plain.runner.replayed(), 0);
    EXPECT_EQ(graphs.optimizer.steps_taken(), 11);
}

TEST_P(StepRunnerOn, ARehearsalByGraphChangesNothing) {
    Training graphs(device(), /*captures=*/true);
    graphs.step(1, 8);
    const auto before = state_of(graphs);
    for (int64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(graphs.step(2, 8, {.rehearsal = true})[2].item<float>(), 1);
    }
    EXPECT_EQ(graphs.runner.replayed(), 2);
    expect_same(state_of(graphs), before);
    EXPECT_EQ(graphs.step(3, 8)[2].item<float>(), 0);
    EXPECT_FALSE(at::equal(state_of(graphs).front(), before.front()));
}

TEST_P(StepRunnerOn, ShapesTooManyRunOperationByOperation) {
    Training graphs(device(), /*captures=*/true), plain(device(), /*captures=*/false);
    for (int64_t shape = 0; shape <= static_cast<int64_t>(kMostGraphs); ++shape) {
        graphs.step(1, 2 + 2 * shape, {.rehearsal = true});
    }
    const int64_t width = 2 + 2 * static_cast<int64_t>(kMostGraphs);
    for (int64_t number = 1; number < 5; ++number) {
        EXPECT_TRUE(same(graphs.step(number, width), plain.step(number, width))) << number;
    }
    EXPECT_EQ(graphs.runner.replayed(), 0);
}

INSTANTIATE_TEST_SUITE_P(Cpu, StepRunnerOn, testing::Values(at::kCPU));
INSTANTIATE_TEST_SUITE_P(Gpu, StepRunnerOn, testing::Values(at::kCUDA));

}  // namespace
}  // namespace flux::train
