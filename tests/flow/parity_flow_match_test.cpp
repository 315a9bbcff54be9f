// The steps around the model against the flow_match_step fixture.
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "flux/flow/flow_matching.h"
#include "flux/model/latents.h"
#include "support/fixture.h"
#include "support/tensor_match.h"

namespace flux::test {
namespace {

// bf16 cases: the reference rounds after each operation, we mix in fp32.
double tolerance(const nlohmann::json& item) { return item.at("dtype") == "float32" ? 1e-6 : 4e-2; }

class ParityFlowMatch : public testing::TestWithParam<kernels::Path> {};

TEST_P(ParityFlowMatch, NoisyAndTarget) {
    const Fixture fixture("flow_match_step");
    ASSERT_FALSE(fixture.json().at("cases").empty());
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const auto get = [&](const std::string& tensor) {
            return fixture.tensor(name + "." + tensor);
        };
        const flow::FlowMatch match =
            flow::flow_match(GetParam(), get("labels"), get("noise"), get("timesteps"));
        EXPECT_TRUE(max_abs_within(name + ".packed", match.noisy, get("packed").to(at::kFloat),
                                   tolerance(item)));
        EXPECT_TRUE(max_abs_within(name + ".target", match.target,
                                   get("target_packed").to(at::kFloat), tolerance(item)));
    }
}

TEST_P(ParityFlowMatch, LossAndItsGradient) {
    const Fixture fixture("flow_match_step");
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        // In fp32, as the model gives it.
        const at::Tensor prediction = fixture.tensor(name + ".pred_packed").to(at::kFloat);
        const at::Tensor target = fixture.tensor(name + ".target_packed");
        const at::Tensor losses = flow::per_sample_loss(GetParam(), prediction, target);
        const double expected = item.at("loss");
        EXPECT_NEAR(losses.mean().item<double>(), expected, 1e-6 * expected) << name;
        const auto each = item.at("per_sample_loss").get<std::vector<double>>();
        ASSERT_EQ(static_cast<size_t>(losses.size(0)), each.size());
        for (size_t i = 0; i < each.size(); ++i) {
            EXPECT_NEAR(losses[static_cast<int64_t>(i)].item<double>(), each[i], 2e-6 * each[i])
                << name << i;
        }
        const flow::Loss both =
            flow::loss_with_gradient(GetParam(), prediction, target, prediction.size(0));
        EXPECT_TRUE(both.per_sample.equal(losses));
        EXPECT_TRUE(max_abs_within(name + ".grad", both.gradient,
                                   fixture.tensor(name + ".grad_pred_packed"), 1e-6));
    }
}

INSTANTIATE_TEST_SUITE_P(Paths, ParityFlowMatch,
                         testing::Values(kernels::Path::kTwin, kernels::Path::kFused));

TEST(ParityLatents, PackingAndPositionsExactly) {
    const Fixture fixture("flow_match_step");
    EXPECT_TRUE(same_bits("probe.packed",
                          model::pack_latents(fixture.tensor("probe.unpacked")).contiguous(),
                          fixture.tensor("probe.packed")));
    for (const auto& [name, item] : fixture.json().at("cases").items()) {
        const int64_t height = item.at("H"), width = item.at("W"), batch = item.at("B");
        EXPECT_TRUE(
            same_bits(name + ".pred_unpacked",
                      model::unpack_latents(fixture.tensor(name + ".pred_packed"), height, width)
                          .contiguous(),
                      fixture.tensor(name + ".pred_unpacked")));
        EXPECT_TRUE(same_bits(
            name + ".img_ids",
            model::image_ids(height, width, at::kCPU).expand({batch, -1, -1}).contiguous(),
            fixture.tensor(name + ".img_ids").to(at::kFloat)));
        EXPECT_TRUE(same_bits(
            name + ".txt_ids",
            model::text_ids(item.at("txt_len"), at::kCPU).expand({batch, -1, -1}).contiguous(),
            fixture.tensor(name + ".txt_ids").to(at::kFloat)));
    }
}

}  // namespace
}  // namespace flux::test
