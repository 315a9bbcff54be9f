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
#include "support/tiny_model.h"

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
    const FluxConfig schnell = flavor("flux-schnell");
    // Published for blocks that are alike. The last one hands on the image alone: without the
    // text's MLP, 3072 -> 12288, and linear2, 15360 -> 3072.
    const double text = 3 * 2.0 * 256 * 3072 * (12288 + 15360);
    EXPECT_NEAR(training_flops(schnell, 256, 256) + text, 20.4e12, 0.05e12);
    const BlockFlops last = block_flops(schnell, 56, 256, 256);
    const BlockFlops other = block_flops(schnell, 55, 256, 256);
    EXPECT_NEAR(3 * (other.all - last.all), text, 1e-9 * text);
    EXPECT_EQ(last.last_product, other.last_product / 2);
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
    test::initialize_off_zero(model.parameters(), 1);
    MmditInput input = test::random_input(config, {.batch = 1});
    input.guidance = at::arange(1, at::kFloat) + 1.0;
    const at::Tensor first = model.predict(input);
    input.guidance = input.guidance + 3;
    EXPECT_FALSE(first.equal(model.predict(input)));
    input.guidance.reset();
    EXPECT_THROW(model.predict(input), std::exception);
}

}  // namespace
}  // namespace flux::model
