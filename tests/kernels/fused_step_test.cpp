// A step's fused operations against their twins: the error of each against the twin in fp64 may be
// at most twice the twin's own.
#include "flux/kernels/fused_step.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <vector>

#include "flux/kernels/cuda_device.h"
#include "support/tensor_match.h"

namespace flux::kernels {
namespace {

using test::relative_l2;

/// On each device.
class FusedStep : public testing::TestWithParam<at::DeviceType> {
protected:
    void SetUp() override {
        if (GetParam() == at::kCUDA) {
            if (const auto problem = cuda_problem()) {
                GTEST_SKIP() << "needs a GPU: " << *problem;
            }
        }
    }
    static at::Tensor here(const at::Tensor& x) { return x.to(GetParam()); }
};

/// Values and moments of several runs in one flat buffer, with a gap behind each.
struct AdamState {
    at::Tensor value, gradient, mean, square, copy;

    AdamState(int64_t numel, at::ScalarType copied)
        : value(at::randn({numel})),
          gradient(at::zeros({numel})),
          mean(at::zeros({numel})),
          square(at::zeros({numel})),
          copy(value.to(copied)) {}

    AdamState to(at::Device device, at::ScalarType dtype) const {
        AdamState other = *this;
        for (at::Tensor* tensor : {&other.value, &other.gradient, &other.mean, &other.square}) {
            *tensor = tensor->to(device, dtype, /*non_blocking=*/false, /*copy=*/true);
        }
        other.copy = copy.to(device, copy.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
        return other;
    }
    AdamRun run(int64_t first, int64_t numel, bool copied) const {
        const auto part = [&](const at::Tensor& x) { return x.narrow(0, first, numel); };
        return {part(value), part(gradient), part(mean), part(square),
                copied ? part(copy) : at::Tensor()};
    }
};

AdamScalars scalars(double step, double skip, at::Device device) {
    const auto scalar = [&](double x) {
        return at::full({}, x, at::TensorOptions(device).dtype(at::kFloat));
    };
    return {scalar(1e-2 / step), scalar(step), scalar(2.5), scalar(skip)};
}

constexpr AdamSettings kSettings{
    .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 0.3, .decoupled = true};

/// Runs of odd sizes, of which the second does not decay.
const std::vector<std::pair<int64_t, int64_t>> kRuns{{0, 1003}, {1004, 37}, {1043, 40001}};
constexpr int64_t kElements = 41100;

void adam_steps(Path path, const AdamState& state, AdamSettings settings, bool copied,
                const std::vector<at::Tensor>& gradients) {
    const double decay = settings.weight_decay;
    double number = 0;
    for (const at::Tensor& gradient : gradients) {
        state.gradient.copy_(gradient);  // the twin divides what it gets
        const AdamScalars of_step = scalars(++number, 0, state.value.device());
        for (const bool decays : {true, false}) {
            std::vector<AdamRun> runs;
            for (size_t i = 0; i < kRuns.size(); ++i) {
                if ((i != 1) == decays) {
                    runs.push_back(state.run(kRuns[i].first, kRuns[i].second, copied));
                }
            }
            settings.weight_decay = decays ? decay : 0.0;
            adam_(path, settings, of_step, runs);
        }
    }
}

TEST_P(FusedStep, AdamIsAsExactAsItsTwin) {
    for (const at::ScalarType copied : {at::kFloat, at::kBFloat16}) {
        for (const bool decoupled : {true, false}) {
            AdamSettings settings = kSettings;
            settings.decoupled = decoupled;
            const AdamState first(kElements, copied);
            std::vector<at::Tensor> gradients;
            for (int i = 0; i < 5; ++i) {
                gradients.push_back(at::randn({kElements}));
            }
            const AdamState exact = first.to(at::kCPU, at::kDouble);
            const AdamState twin = first.to(GetParam(), at::kFloat);
            const AdamState fused = first.to(GetParam(), at::kFloat);
            adam_steps(Path::kTwin, exact, settings, true, gradients);
            adam_steps(Path::kTwin, twin, settings, true, gradients);
            adam_steps(Path::kFused, fused, settings, true, gradients);
            for (auto member : {&AdamState::value, &AdamState::mean, &AdamState::square}) {
                const double of_fused = relative_l2(fused.*member, exact.*member);
                const double of_twin = relative_l2(twin.*member, exact.*member);
                EXPECT_GT(of_fused, 0);
                EXPECT_LE(of_fused, 2 * of_twin) << decoupled;
            }
            EXPECT_FALSE(fused.copy.equal(here(first.copy)));
            EXPECT_TRUE(fused.copy.equal(fused.value.to(copied)));
            // What lies between the runs.
            EXPECT_TRUE(fused.value.narrow(0, 1041, 2).equal(here(first.value.narrow(0, 1041, 2))));
        }
    }
}

TEST_P(FusedStep, ASkippedStepOfAdamChangesNoBit) {
    for (const Path path : {Path::kTwin, Path::kFused}) {
        const AdamState first = AdamState(kElements, at::kBFloat16).to(GetParam(), at::kFloat);
        const AdamState state = first.to(GetParam(), at::kFloat);
        state.gradient.fill_(std::numeric_limits<double>::quiet_NaN());
        const std::vector runs{state.run(0, kElements, true)};
        adam_(path, kSettings, scalars(1, 1, state.value.device()), runs);
        for (auto member :
             {&AdamState::value, &AdamState::mean, &AdamState::square, &AdamState::copy}) {
            EXPECT_TRUE((state.*member).equal(first.*member));
        }
    }
}

TEST_P(FusedStep, AdamWithoutACopyTakesTheSameStep) {
    const AdamState first(kElements, at::kBFloat16);
    const std::vector gradients{at::randn({kElements})};
    const AdamState with = first.to(GetParam(), at::kFloat),
                    without = with.to(GetParam(), at::kFloat);
    adam_steps(Path::kFused, with, kSettings, true, gradients);
    adam_steps(Path::kFused, without, kSettings, false, gradients);
    EXPECT_TRUE(without.value.equal(with.value));
    EXPECT_TRUE(without.copy.equal(here(first.copy)));
}

TEST_P(FusedStep, MixAndPackIsAsExactAsItsTwin) {
    for (const std::vector<int64_t>& shape :
         {std::vector<int64_t>{3, 16, 22, 14}, {64, 3, 2, 2}, {2, 5, 6, 130}}) {
        const at::Tensor a = at::randn(shape), b = at::randn(shape), t = at::rand({shape[0]});
        const PackedMix exact =
            mix_and_pack(Path::kTwin, a.to(at::kDouble), b.to(at::kDouble), t.to(at::kDouble));
        const PackedMix twin = mix_and_pack(Path::kTwin, here(a), here(b), here(t));
        // A part of a larger tensor, which is not dense.
        const PackedMix fused = mix_and_pack(
            Path::kFused,
            here(at::randn({shape[0], 20, shape[2], shape[3]})).narrow(1, 2, shape[1]).copy_(a),
            here(b), here(t));
        ASSERT_EQ(fused.mixed.sizes(), exact.mixed.sizes());
        EXPECT_LE(relative_l2(fused.mixed, exact.mixed), 2 * relative_l2(twin.mixed, exact.mixed));
        EXPECT_TRUE(fused.difference.equal(twin.difference));
    }
}

TEST_P(FusedStep, SquaredErrorIsAsExactAsItsTwin) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
        for (const std::vector<int64_t>& shape :
             {std::vector<int64_t>{3, 77, 64}, {1, 1, 5}, {2, 300, 6}}) {
            const at::Tensor prediction = at::randn(shape).to(dtype), target = at::randn(shape);
            constexpr double kShare = 1.0 / 24;
            const SquaredError exact = squared_error_with_gradient(
                Path::kTwin, prediction.to(at::kDouble), target.to(at::kDouble), kShare);
            const SquaredError twin =
                squared_error_with_gradient(Path::kTwin, here(prediction), here(target), kShare);
            const SquaredError fused =
                squared_error_with_gradient(Path::kFused, here(prediction), here(target), kShare);
            EXPECT_EQ(fused.gradient.scalar_type(), dtype);
            // A mean of a few numbers may happen to be exact.
            EXPECT_LE(relative_l2(fused.means, exact.means),
                      std::max(2 * relative_l2(twin.means, exact.means), 1e-7));
            EXPECT_LE(relative_l2(fused.gradient, exact.gradient),
                      2 * relative_l2(twin.gradient, exact.gradient));
            EXPECT_TRUE(mean_squared_error(Path::kFused, here(prediction), here(target))
                            .equal(fused.means));
        }
    }
}

TEST_P(FusedStep, MeansDoNotDependOnTheBatch) {
    const at::Tensor prediction = here(at::randn({9, 1000, 64}));
    const at::Tensor target = here(at::randn({9, 1000, 64}));
    const at::Tensor all = mean_squared_error(Path::kFused, prediction, target);
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 1}, {3, 1}, {2, 5}, {8, 1}}) {
        EXPECT_TRUE(mean_squared_error(Path::kFused, prediction.narrow(0, first, count),
                                       target.narrow(0, first, count))
                        .equal(all.narrow(0, first, count)))
            << first;
    }
}

TEST_P(FusedStep, RefusesWhatBodiesWouldReadBeyondItsEnd) {
    const AdamState state = AdamState(kElements, at::kFloat).to(GetParam(), at::kFloat);
    const at::Tensor number = here(at::ones({}));
    const AdamScalars scalars{.lr = number, .steps = number, .divisor = number, .skip = number};
    AdamRun shorter = state.run(0, 64, true);
    shorter.gradient = shorter.gradient.narrow(0, 0, 63);
    AdamRun strided = state.run(0, 64, true);
    strided.mean = state.mean.slice(0, 0, 128, 2);
    AdamRun other = state.run(0, 64, true);
    other.copy = state.copy.narrow(0, 0, 32);
    for (const AdamRun& run : {shorter, strided, other}) {
        EXPECT_ANY_THROW(adam_(Path::kFused, kSettings, scalars, std::array{run}));
    }
    const at::Tensor picture = here(at::zeros({3, 4, 6, 6}));
    EXPECT_ANY_THROW(mix_and_pack(Path::kFused, picture, picture, here(at::zeros({2}))));
    EXPECT_ANY_THROW(
        mix_and_pack(Path::kFused, picture, picture.to(at::kDouble), here(at::zeros({3}))));
}

INSTANTIATE_TEST_SUITE_P(Cpu, FusedStep, testing::Values(at::kCPU));
INSTANTIATE_TEST_SUITE_P(Gpu, FusedStep, testing::Values(at::kCUDA));

TEST(FusedStepNumbers, DoNotDependOnTheThreads) {
    const AdamState first(kElements, at::kBFloat16);
    const AdamState one = first.to(at::kCPU, at::kFloat), two = first.to(at::kCPU, at::kFloat);
    const std::vector gradients{at::randn({kElements}), at::randn({kElements})};
    const at::Tensor prediction = at::randn({3, 77, 64}), target = at::randn({3, 77, 64});
    adam_steps(Path::kFused, one, kSettings, true, gradients);
    const at::Tensor mean = mean_squared_error(Path::kFused, prediction, target);
    at::set_num_threads(2);
    adam_steps(Path::kFused, two, kSettings, true, gradients);
    EXPECT_TRUE(mean.equal(mean_squared_error(Path::kFused, prediction, target)));
    at::set_num_threads(1);
    EXPECT_TRUE(two.value.equal(one.value));
    EXPECT_TRUE(two.copy.equal(one.copy));
}

}  // namespace
}  // namespace flux::kernels
