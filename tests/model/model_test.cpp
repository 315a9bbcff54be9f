#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/base/error.h"
#include "flux/config/load_config.h"
#include "flux/model/flops.h"
#include "flux/model/flux_config.h"
#include "flux/model/latents.h"
#include "flux/model/mmdit.h"
#include "support/problem.h"

namespace flux::model {
namespace {

TEST(FluxConfig, PublishedParameterCounts) {
    EXPECT_EQ(parameter_count(flavor("flux-schnell")), 11'891'178'560);
    EXPECT_EQ(parameter_count(flavor("flux-dev")), 11'901'408'320);
    const int64_t tiny = parameter_count(flavor("flux-tiny"));
    EXPECT_GT(tiny, 2'000'000);
    EXPECT_LT(tiny, 3'000'000);
}

TEST(FluxConfig, PublishedFlops) {
    EXPECT_NEAR(training_flops(flavor("flux-schnell"), 256, 256), 20.4e12, 0.05e12);
}

TEST(FluxConfig, RejectsAxesThatDoNotSumToTheHeadSize) {
    FluxConfig config = flavor("flux-tiny");
    config.axes_dim = {8, 12, 16};
    EXPECT_THAT(test::problem_of<ConfigError>([&] { check(config); }),
                testing::HasSubstr("8,12,16: sums to 36"));
}

// The option's row names the flavors too.
TEST(FluxConfig, EveryFlavorIsAnOption) {
    for (const std::string& name : flavor_names()) {
        EXPECT_NO_THROW(config::load_config(config::parse_command_line({"--model.flavor=" + name})))
            << name;
    }
}

TEST(FluxConfig, RejectsUnknownFlavor) { EXPECT_THROW(flavor("flux-huge"), ConfigError); }

TEST(PackLatents, RoundTripsOddPatchCounts) {
    const at::Tensor latents = at::randn({2, 16, 6, 10});
    EXPECT_TRUE(unpack_latents(pack_latents(latents), 6, 10).equal(latents));
}

TEST(ImageIds, CountRowsAndColumns) {
    const at::Tensor ids = image_ids(4, 6, at::kCPU);
    EXPECT_EQ(ids.sizes(), (at::IntArrayRef{1, 6, 3}));
    EXPECT_EQ(ids[0][5][1].item<int>(), 1);
    EXPECT_EQ(ids[0][5][2].item<int>(), 2);
}

// One output per guidance value: the embedding is used.
TEST(Mmdit, GuidanceChangesThePrediction) {
    FluxConfig config = flavor("flux-tiny");
    config.guidance_embed = true;
    Mmdit model(config, {}, units::RecomputePolicy::none());
    model.parameters().initialize(1);
    for (auto& shard : model.parameters().shards()) {
        shard.param.add_(0.01);  // a fresh model predicts zero whatever it is given
    }
    model.parameters().parameters_changed();
    MmditInput input{.img = at::randn({1, 4, 64}),
                     .img_ids = image_ids(4, 4, at::kCPU),
                     .txt = at::randn({1, 3, config.context_in_dim}),
                     .txt_ids = text_ids(3, at::kCPU),
                     .pooled = at::randn({1, config.vec_in_dim}),
                     .timesteps = at::arange(1, at::kFloat) + 0.5,
                     .guidance = at::arange(1, at::kFloat) + 1.0};
    const at::Tensor first = model.predict(input);
    input.guidance = input.guidance + 3;
    EXPECT_FALSE(first.equal(model.predict(input)));
    input.guidance.reset();
    EXPECT_THROW(model.predict(input), std::exception);
}

}  // namespace
}  // namespace flux::model
