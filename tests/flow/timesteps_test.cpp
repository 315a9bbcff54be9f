#include "flux/flow/timesteps.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <gtest/gtest.h>

#include <cmath>

namespace flux::flow {
namespace {

at::Tensor samples(int64_t count) { return at::arange(count, at::kLong); }

TEST(SampleTimesteps, UniformFillsTheUnitInterval) {
    const at::Tensor t = sample_timesteps({}, 1, samples(20000));
    EXPECT_NEAR(t.mean().item<double>(), 0.5, 0.01);
    EXPECT_NEAR(t.std().item<double>(), std::sqrt(1.0 / 12), 0.01);
    TimestepHistogram histogram(10);
    histogram.add(t);
    for (const int64_t count : histogram.counts()) {
        EXPECT_NEAR(static_cast<double>(count), 2000, 250);
    }
}

TEST(SampleTimesteps, LogitNormalHasItsMedianAtTheSigmoidOfTheMean) {
    const TimestepSettings settings{config::TimestepSampling::kLogitNormal, 1.0, 0.5, 1.0};
    const at::Tensor t = sample_timesteps(settings, 1, samples(20000));
    EXPECT_NEAR(t.median().item<double>(), 1 / (1 + std::exp(-1.0)), 0.01);
    EXPECT_NEAR(t.logit().std().item<double>(), 0.5, 0.02);
}

TEST(SampleTimesteps, ShiftMovesTowardsNoise) {
    const at::Tensor plain = sample_timesteps({}, 1, samples(64));
    const at::Tensor shifted = sample_timesteps({.shift = 3.0}, 1, samples(64));
    EXPECT_TRUE(shifted.allclose(plain * 3 / (plain * 2 + 1)));
    EXPECT_TRUE((shifted >= plain).all().item<bool>());
}

TEST(SampleTimesteps, KeyedByTheSample) {
    EXPECT_TRUE(sample_timesteps({}, 1, samples(64))
                    .narrow(0, 60, 4)
                    .equal(sample_timesteps({}, 1, samples(64).narrow(0, 60, 4))));
}

}  // namespace
}  // namespace flux::flow
