// Which linear layers of the blocks are computed in FP8.
#include "flux/model/execution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "flux/model/latents.h"
#include "flux/model/mmdit.h"

namespace flux::model {
namespace {

using Kind = kernels::Products::Kind;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

const kernels::Products kTensorwise{.kind = Kind::kTensorwise, .emulated = true};

FluxConfig dimensions() {
    FluxConfig config = flavor("flux-tiny");
    config.hidden_size = 64;
    config.num_heads = 2;
    config.depth = 1;
    config.depth_single_blocks = 1;
    return config;
}

MmditInput random_input(const FluxConfig& config) {
    return {.img = at::randn({2, 16, config.in_channels}),
            .img_ids = image_ids(8, 8, at::kCPU),
            .txt = at::randn({2, 5, config.context_in_dim}),
            .txt_ids = text_ids(5, at::kCPU),
            .pooled = at::randn({2, config.vec_in_dim}),
            .timesteps = at::zeros({2}),
            .guidance = {}};
}

at::Tensor predict(const FluxConfig& config, const MmditInput& input, const Execution& execution) {
    Mmdit model(config, {}, units::RecomputePolicy::none(), execution);
    model.parameters().initialize(1);
    for (units::FlatShard& shard : model.parameters().shards()) {
        shard.param.add_(0.02);  // gates and the last layer begin at 0
    }
    model.parameters().parameters_changed();
    return model.predict(input);
}

TEST(BlockLinears, AreThoseOfTheBlocksWithoutTheirModulations) {
    const auto layers = block_linears(flavor("flux-tiny"));
    EXPECT_EQ(layers.size(), 2U * 8 + 4 * 2);
    EXPECT_THAT(layers, Not(Contains(Field(&BlockLinear::name, HasSubstr("mod")))));
    EXPECT_EQ(layers.front().name, "double_blocks.0.img_attn.qkv");
    EXPECT_EQ(layers.front().in, 128);
    EXPECT_EQ(layers.front().out, 384);
    EXPECT_EQ(layers.back().name, "single_blocks.3.linear2");
}

TEST(ExecutionProducts, LeaveOutWhatIsNamedOrDoesNotFit) {
    const Execution execution{.products = kTensorwise, .plain_layers = {"mlp", "blocks.7.linear"}};
    EXPECT_EQ(execution.products_of("double_blocks.0.img_attn.qkv", 64, 192), kTensorwise);
    EXPECT_EQ(execution.products_of("double_blocks.0.img_mlp.0", 64, 256).kind, Kind::kPlain);
    EXPECT_EQ(execution.products_of("single_blocks.7.linear1", 64, 256).kind, Kind::kPlain);
    EXPECT_EQ(execution.products_of("single_blocks.8.linear1", 64, 256), kTensorwise);
    EXPECT_EQ(execution.products_of("single_blocks.8.linear1", 72, 256).kind, Kind::kPlain);
    EXPECT_EQ(execution.products_of("single_blocks.8.linear1", 64, 200).kind, Kind::kPlain);
}

TEST(ExecutionProducts, ChangeEachLayerOfTheList) {
    const FluxConfig config = dimensions();
    const MmditInput input = random_input(config);
    const at::Tensor plain = predict(config, input, {});
    const auto layers = block_linears(config);
    std::vector<std::string> names;
    for (const BlockLinear& layer : layers) {
        names.push_back(layer.name);
    }
    EXPECT_TRUE(
        predict(config, input, {.products = kTensorwise, .plain_layers = names}).equal(plain));
    for (size_t i = 0; i < names.size(); ++i) {
        std::vector<std::string> others = names;
        others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
        const at::Tensor found =
            predict(config, input, {.products = kTensorwise, .plain_layers = others});
        EXPECT_FALSE(found.equal(plain)) << names[i];
        EXPECT_LT(((found - plain).norm() / plain.norm()).item<double>(), 0.1) << names[i];
    }
}

TEST(ExecutionProducts, WhatIsNotFiniteComesThroughTheWholeModel) {
    const FluxConfig config = dimensions();
    for (const Kind kind : {Kind::kTensorwise, Kind::kRowwise}) {
        Mmdit model(config, {}, units::RecomputePolicy::full(),
                    {.products = {.kind = kind, .emulated = true}});
        model.parameters().initialize(1);
        for (units::FlatShard& shard : model.parameters().shards()) {
            shard.param.add_(0.02);
        }
        model.parameters().parameters_changed();
        model.parameters().begin_gradients();
        at::Tensor gradient = model.forward(random_input(config));
        EXPECT_TRUE(std::isfinite(gradient.norm().item<double>()));
        gradient[0][3][5].fill_(std::numeric_limits<double>::infinity());
        model.backward(gradient);
        model.parameters().finish_gradients();
        EXPECT_FALSE(std::isfinite(model.parameters().grad_norm().item<double>()));
    }
}

}  // namespace
}  // namespace flux::model
