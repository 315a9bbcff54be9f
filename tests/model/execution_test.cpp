// Which linear layers of the blocks are computed in FP8, and that what is kept changes no bit.
#include "flux/model/execution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "flux/model/mmdit.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::model {
namespace {

using Kind = kernels::Products::Kind;
using testing::Contains;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

const kernels::Products kTensorwise{.kind = Kind::kTensorwise, .emulated = true};

at::Tensor predict(const FluxConfig& config, const MmditInput& input, const Execution& execution) {
    Mmdit model(config, {}, units::RecomputePolicy::none(), execution);
    test::initialize_off_zero(model.parameters(), 1);
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
    const FluxConfig config = test::small_dimensions(1, 1);
    const MmditInput input = test::random_input(config);
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
        EXPECT_TRUE(test::relative_l2_within(names[i], found, plain, 0.1));
    }
}

TEST(ExecutionRecompute, GradientsAreThoseOfKeptGraphsToTheBit) {
    const FluxConfig config = test::small_dimensions(2, 2);
    const MmditInput input = test::random_input(config);
    const auto gradients = [&](const Execution& execution, at::ScalarType dtype,
                               units::RecomputePolicy policy) {
        units::StoreSettings settings;
        settings.compute_dtype = dtype;
        Mmdit model(config, settings, policy, execution);
        test::initialize_off_zero(model.parameters(), 1);
        model.parameters().begin_gradients();
        model.backward(model.forward(input));
        model.parameters().finish_gradients();
        std::vector<at::Tensor> all;
        for (const units::FlatShard& shard : model.parameters().shards()) {
            for (const units::GradientSum& sum : shard.gradients) {
                all.push_back(sum.values);
            }
        }
        return at::cat(all);
    };
    for (const auto dtype : {at::kFloat, at::kBFloat16}) {
        for (const Execution& execution :
             {Execution{}, Execution{.path = kernels::Path::kTwin},
              Execution{.products = kTensorwise},
              Execution{.products = {.kind = Kind::kRowwise, .emulated = true}}}) {
            const at::Tensor kept = gradients(execution, dtype, units::RecomputePolicy::none());
            for (const bool keeps_results : {true, false}) {
                EXPECT_TRUE(
                    gradients(execution, dtype, {.fraction = 1.0, .keeps_results = keeps_results})
                        .equal(kept))
                    << dtype << " " << keeps_results;
            }
        }
    }
}

TEST(ExecutionProducts, WhatIsNotFiniteComesThroughTheWholeModel) {
    const FluxConfig config = test::small_dimensions(1, 1);
    for (const Kind kind : {Kind::kTensorwise, Kind::kRowwise}) {
        Mmdit model(config, {}, units::RecomputePolicy::full(),
                    {.products = {.kind = kind, .emulated = true}});
        test::initialize_off_zero(model.parameters(), 1);
        model.parameters().begin_gradients();
        at::Tensor gradient = model.forward(test::random_input(config));
        EXPECT_TRUE(std::isfinite(gradient.norm().item<double>()));
        gradient[0][3][5].fill_(std::numeric_limits<double>::infinity());
        model.backward(gradient);
        model.parameters().finish_gradients();
        EXPECT_FALSE(std::isfinite(model.parameters().grad_norm().item<double>()));
    }
}

}  // namespace
}  // namespace flux::model
