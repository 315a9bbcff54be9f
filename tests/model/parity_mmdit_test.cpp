// The transformer against the mmdit_tiny and mmdit_init fixtures of the reference implementation.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "flux/flow/flow_matching.h"
#include "flux/model/attention.h"
#include "flux/model/layers.h"
#include "flux/model/mmdit.h"
#include "flux/model/rope.h"
#include "support/reference.h"
#include "support/tensor_match.h"
#include "support/tiny_model.h"

namespace flux::test {
namespace {

TEST(ParityMmdit, OutputInFp32) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture);
    EXPECT_TRUE(max_abs_within("output", model->predict(tiny_input(fixture)),
                               fixture.tensor("output"), 5e-5));
}

// Inside a unit our order is our own, so there the names are compared as sets.
TEST(ParityMmdit, UnitsHoldThePublishedNamesInTheReferencesOrder) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture);
    const auto order = fixture.json().at("state_dict_order").get<std::vector<std::string>>();
    auto next = order.begin();
    for (const auto& shard : model->parameters().shards()) {
        std::set<std::string> ours, theirs;
        for (const auto& segment : shard.segments) {
            ASSERT_NE(next, order.end()) << segment.name;
            ours.insert(segment.name);
            theirs.insert(published_name(fixture, *next++));
        }
        EXPECT_EQ(ours, theirs);
    }
    EXPECT_EQ(next, order.end());
    EXPECT_EQ(model->parameters().parameter_count(),
              fixture.json().at("param_count").get<int64_t>());
}

TEST(ParityMmdit, ParametersHaveTheReferencesShapes) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture);
    const auto names = fixture.names_after("param.");
    ASSERT_FALSE(names.empty());
    for (const std::string& name : names) {
        EXPECT_EQ(model->parameters().parameter(published_name(fixture, name)).sizes(),
                  fixture.tensor("param." + name).sizes())
            << name;
    }
}

TEST(ParityMmdit, RotaryTable) {
    const Fixture fixture("mmdit_tiny");
    const auto input = tiny_input(fixture);
    const auto config = config_from(fixture.json().at("config"));
    const auto text = model::rotary_table(input.txt_ids, config);
    const auto image = model::rotary_table(input.img_ids, config);
    const at::Tensor expected =
        fixture.tensor("mid.pe_embedder");  // [B, 1, T, D/2, 2, 2]: ((cos, -sin), (sin, cos))
    const int64_t tokens = input.txt_ids.size(1);
    const auto expect = [&](int64_t row, int64_t column) {
        return expected.select(5, column).select(4, row);
    };
    // Of a pair's two channels: both cosines are the same, the second sine is positive.
    const auto of_channel = [](const at::Tensor& table, int64_t channel) {
        return table.unflatten(-1, {table.size(-1) / 2, 2}).select(-1, channel);
    };
    EXPECT_TRUE(max_abs_within("text cos", of_channel(text.cos, 0),
                               expect(0, 0).narrow(2, 0, tokens), 1e-6));
    EXPECT_TRUE(max_abs_within("cos", of_channel(image.cos, 1),
                               expect(0, 0).narrow(2, tokens, input.img_ids.size(1)), 1e-6));
    EXPECT_TRUE(max_abs_within("-sin", of_channel(image.sin, 0),
                               expect(0, 1).narrow(2, tokens, input.img_ids.size(1)), 1e-6));
    EXPECT_TRUE(max_abs_within("sin", of_channel(image.sin, 1),
                               expect(1, 0).narrow(2, tokens, input.img_ids.size(1)), 1e-6));
}

TEST(ParityMmdit, TimestepEmbedding) {
    const Fixture fixture("mmdit_tiny");
    EXPECT_TRUE(max_abs_within("timestep_embedding",
                               model::timestep_embedding(fixture.tensor("input.timesteps")),
                               fixture.tensor("mid.timestep_embedding"), 1e-4));
}

class ParityMmditGradients : public testing::TestWithParam<std::tuple<double, int64_t>> {};

// Every parameter's gradient, for each recompute policy and with as few slabs as one.
TEST_P(ParityMmditGradients, MatchEveryParameter) {
    const Fixture fixture("mmdit_tiny");
    const auto [fraction, slabs] = GetParam();
    auto model = tiny_model(fixture, at::kFloat, units::RecomputePolicy{fraction}, slabs);
    const at::Tensor prediction = model->forward(tiny_input(fixture));
    const at::Tensor target = fixture.tensor("target");
    const double expected_loss = fixture.json().at("loss");
    EXPECT_NEAR(flow::per_sample_loss(model->path(), prediction, target).mean().item<double>(),
                expected_loss, 1e-5 * expected_loss);
    model->parameters().begin_gradients();
    model->backward(
        flow::loss_with_gradient(model->path(), prediction, target, prediction.size(0)).gradient);
    const auto names = fixture.names_after("grad.");
    ASSERT_FALSE(names.empty());
    for (const std::string& name : names) {
        EXPECT_TRUE(relative_l2_within(name,
                                       model->parameters().gradient(published_name(fixture, name)),
                                       fixture.tensor("grad." + name), 1e-4));
    }
}

INSTANTIATE_TEST_SUITE_P(Schedules, ParityMmditGradients,
                         testing::Combine(testing::Values(0.0, 0.5, 1.0),
                                          testing::Values(0, 1, 2, 3)));

TEST(ParityMmdit, OtherPositions) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture);
    auto input = tiny_input(fixture);
    input.img_ids = fixture.tensor("alt.img_ids");
    input.txt_ids = fixture.tensor("alt.txt_ids");
    EXPECT_TRUE(
        max_abs_within("alt.output", model->predict(input), fixture.tensor("alt.output"), 5e-5));
}

TEST(ParityMmdit, BroadcastsPositionsAndTimestep) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture);
    auto input = tiny_input(fixture);
    input.img_ids = input.img_ids.narrow(0, 0, 1);
    input.txt_ids = input.txt_ids.narrow(0, 0, 1);
    input.timesteps = fixture.tensor("bcast.timesteps");
    EXPECT_TRUE(max_abs_within("bcast.output", model->predict(input),
                               fixture.tensor("bcast.output"), 5e-5));
}

TEST(ParityMmdit, Bfloat16LikeFsdpMixedPrecision) {
    const Fixture fixture("mmdit_tiny");
    auto model = tiny_model(fixture, at::kBFloat16);
    EXPECT_TRUE(relative_l2_within("output_bf16_fsdp", model->predict(tiny_input(fixture)),
                                   fixture.tensor("output_bf16_fsdp"), 2e-2));
}

TEST(ParityMmdit, QkNormEpsilon) {
    const Fixture fixture("mmdit_tiny");
    const double torchtitan = fixture.json().at("qknorm_eps").at("torchtitan");
    const double published = fixture.json().at("qknorm_eps").at("bfl");
    for (const std::string which : {"q", "k"}) {
        const at::Tensor x = fixture.tensor("qknorm." + which);
        const at::Tensor weight =
            fixture.tensor(which == "q" ? "qknorm.query_weight" : "qknorm.key_weight");
        const std::string out = "qknorm." + which + "_out";
        EXPECT_TRUE(
            max_abs_within(out, model::rms_norm(x, weight, torchtitan), fixture.tensor(out), 1e-5));
        EXPECT_TRUE(max_abs_within(out, model::rms_norm(x, weight, published),
                                   fixture.tensor(out + "_bfl_eps1e-6"), 1e-5));
        EXPECT_TRUE(max_abs_within(
            out,
            model::rms_norm(x.to(at::kBFloat16), weight.to(at::kBFloat16), torchtitan)
                .to(at::kFloat),
            fixture.tensor(out + "_bf16"), 2e-2));
    }
}

// Statistics of a fresh model, by the rules in the fixture's "checks".
TEST(ParityMmditInit, Distributions) {
    const Fixture fixture("mmdit_init");
    model::Mmdit model(config_from(fixture.json().at("config")), {},
                       units::RecomputePolicy::none());
    model.parameters().initialize(1234);
    size_t checked = 0;
    for (const auto& [name, rule] : fixture.json().at("parameters").items()) {
        std::string published = name;
        for (const std::string norm : {"query_norm.weight", "key_norm.weight"}) {
            if (published.ends_with(norm)) {
                published.replace(published.size() - 6, 6, "scale");
            }
        }
        const at::Tensor value = model.parameters().parameter(published);
        ASSERT_EQ(value.sizes().vec(), rule.at("shape").get<std::vector<int64_t>>()) << name;
        const auto elements = static_cast<double>(value.numel());
        const std::string kind = rule.at("dist");
        ++checked;
        if (kind == "constant") {
            EXPECT_TRUE((value == rule.at("value").get<double>()).all().item<bool>()) << name;
        } else if (kind == "xavier_uniform") {
            const double bound = rule.at("bound");
            EXPECT_LE(value.abs().max().item<double>(), bound * (1 + 1e-6)) << name;
            if (elements > 1e4) {
                EXPECT_NEAR(value.std().item<double>(), bound / std::sqrt(3.0),
                            0.02 * bound / std::sqrt(3.0))
                    << name;
            }
        } else {
            ASSERT_EQ(kind, "normal") << name;
            EXPECT_NEAR(value.std().item<double>(), 0.02, 0.03 * 0.02) << name;
            EXPECT_LT(std::abs(value.mean().item<double>()), 5 * 0.02 / std::sqrt(elements))
                << name;
        }
    }
    EXPECT_GT(checked, 0u);
}

TEST(ParityMmditInit, FreshModelPredictsZeroAndTrainsTheLastLayerFirst) {
    const Fixture fixture("mmdit_init");
    const Fixture tiny("mmdit_tiny");
    model::Mmdit model(config_from(tiny.json().at("config")), {}, units::RecomputePolicy::none());
    model.parameters().initialize(7);
    const at::Tensor prediction = model.forward(tiny_input(tiny));
    EXPECT_TRUE((prediction == 0).all().item<bool>());
    model.parameters().begin_gradients();
    model.backward(flow::loss_with_gradient(model.path(), prediction, tiny.tensor("target"),
                                            prediction.size(0))
                       .gradient);
    std::vector<std::string> with_gradient;
    for (const auto& shard : model.parameters().shards()) {
        for (const auto& segment : shard.segments) {
            if ((model.parameters().gradient(segment.name) != 0).any().item<bool>()) {
                with_gradient.push_back(segment.name);
            }
        }
    }
    EXPECT_EQ(with_gradient, fixture.json()
                                 .at("fresh_model")
                                 .at("parameters_with_nonzero_gradient_on_first_backward")
                                 .get<std::vector<std::string>>());
}

TEST(ParityShapes, PublishedNamesOfSchnellAndDev) {
    FLUX_SKIP_WITHOUT_REFERENCE();
    const Fixture fixture("shapes");
    for (const auto& [flavor, file] : {std::pair("flux-schnell", "flux1-schnell.safetensors"),
                                       std::pair("flux-dev", "flux1-dev.safetensors")}) {
        const auto& tensors = fixture.json().at("models").at(file).at("tensors");
        size_t found = 0;
        for (const auto& unit : model::make_units(model::flavor(flavor))) {
            for (const auto& parameter : unit->parameters()) {
                ASSERT_TRUE(tensors.contains(parameter.name)) << parameter.name;
                EXPECT_EQ(tensors.at(parameter.name).at("shape").get<std::vector<int64_t>>(),
                          parameter.shape);
                ++found;
            }
        }
        EXPECT_EQ(found, tensors.size()) << file;
    }
}

}  // namespace
}  // namespace flux::test
