// What [float8] makes of the transformer, and what is refused before a run begins.
#include "flux/train/execution.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "flux/train/job.h"
#include "support/problem.h"

namespace flux::train {
namespace {

using Kind = kernels::Products::Kind;
using testing::AllOf;
using testing::HasSubstr;

config::JobConfig float8_job(const std::string& recipe) {
    config::JobConfig config;
    config.model.flavor = "flux-tiny";
    config.model.converters = {"float8"};
    config.float8.recipe_name = recipe;
    return config;
}

std::string layers_error(const config::JobConfig& config) {
    return test::problem_of<ConfigError>(
        [&] { check_float8_layers(config, model_dimensions(config)); });
}

TEST(ExecutionOfAJob, FollowsItsOptions) {
    config::JobConfig config;
    EXPECT_EQ(execution(config).path, kernels::Path::kFused);
    EXPECT_EQ(execution(config).products.kind, Kind::kPlain);
    config.kernels.fused = false;
    EXPECT_EQ(execution(config).path, kernels::Path::kTwin);
    EXPECT_EQ(execution(float8_job("")).products.kind, Kind::kTensorwise);
    EXPECT_EQ(execution(float8_job("tensorwise")).products.kind, Kind::kTensorwise);
    config = float8_job("rowwise");
    EXPECT_EQ(execution(config).products.kind, Kind::kRowwise);
    EXPECT_FALSE(execution(config).products.emulated);
    config.float8.emulate = true;
    EXPECT_TRUE(execution(config).products.emulated);
    config.float8.filter_fqns = {"mlp"};
    EXPECT_EQ(execution(config).plain_layers, config.float8.filter_fqns);
}

TEST(ExecutionOfAJob, IsTold) {
    config::JobConfig config = float8_job("rowwise");
    const model::FluxConfig dimensions = model_dimensions(config);
    EXPECT_EQ(products_text(config, dimensions),
              ", 24 of 24 linear layers of the blocks in FP8 rowwise");
    config.float8.emulate = true;
    config.float8.filter_fqns = {"txt_", "single_blocks.0."};
    EXPECT_EQ(products_text(config, dimensions),
              ", 14 of 24 linear layers of the blocks in FP8 rowwise (emulated)");
    EXPECT_EQ(products_text({}, dimensions), "");
}

TEST(Float8Layers, NamesThatFitNoneAreRefused) {
    config::JobConfig config = float8_job("tensorwise");
    EXPECT_EQ(layers_error(config), "");
    config.float8.filter_fqns = {"final_layer", "mlp"};  // the last layer is plain in any case
    EXPECT_EQ(layers_error(config), "");
    config.float8.filter_fqns = {"mlp", "output"};
    EXPECT_THAT(layers_error(config),
                HasSubstr("float8.filter_fqns: \"output\" is in the name of no layer"));
    config.float8.filter_fqns = {"img_attn.qkv.weight"};  // of a parameter: leaves no layer out
    EXPECT_THAT(layers_error(config), HasSubstr("is in the name of no layer"));
    config.model.converters.clear();
    EXPECT_EQ(layers_error(config), "");
}

TEST(Float8Layers, OneAtLeastMustBeLeft) {
    config::JobConfig config = float8_job("tensorwise");
    config.float8.filter_fqns = {"blocks"};
    EXPECT_THAT(layers_error(config),
                AllOf(HasSubstr("takes no layer of this model"), HasSubstr("[\"blocks\"]")));
    config.float8.filter_fqns.clear();
    config.model.hidden_size = 24;
    config.model.num_heads = 1;
    config.model.axes_dim = {8, 8, 8};
    EXPECT_THAT(layers_error(config),
                AllOf(HasSubstr("no multiples of 16"), HasSubstr("model.hidden_size = 24")));
}

TEST(Float8Device, ACpuEmulatesOrRefuses) {
    config::JobConfig config = float8_job("rowwise");
    const auto error = [&] {
        return test::problem_of<ConfigError>([&] { check_float8_device(config, at::kCPU); });
    };
    EXPECT_THAT(error(), AllOf(HasSubstr("model.converters = [\"float8\"]: the CPU"),
                               HasSubstr("8.9"), HasSubstr("float8.emulate = true")));
    config.float8.emulate = true;
    EXPECT_EQ(error(), "");
    config = {};
    EXPECT_EQ(error(), "");
}

}  // namespace
}  // namespace flux::train
