#include "support/tiny_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "flux/model/latents.h"

namespace flux::test {

model::FluxConfig config_from(const nlohmann::json& config) {
    model::FluxConfig result;
    result.in_channels = config.at("in_channels");
    result.out_channels = config.at("out_channels");
    result.vec_in_dim = config.at("vec_in_dim");
    result.context_in_dim = config.at("context_in_dim");
    result.hidden_size = config.at("hidden_size");
    result.mlp_ratio = config.at("mlp_ratio");
    result.num_heads = config.at("num_heads");
    result.depth = config.at("depth");
    result.depth_single_blocks = config.at("depth_single_blocks");
    result.axes_dim = config.at("axes_dim").get<std::array<int64_t, 3>>();
    result.theta = config.at("theta");
    result.qkv_bias = config.at("qkv_bias");
    return result;
}

std::string published_name(const Fixture& mmdit_tiny, const std::string& name) {
    return mmdit_tiny.json().at("bfl_name_map").at(name);
}

std::unique_ptr<model::Mmdit> tiny_model(const Fixture& mmdit_tiny, at::ScalarType dtype,
                                         units::RecomputePolicy policy, int64_t slabs) {
    const units::StoreSettings settings{.compute_dtype = dtype, .device = at::kCPU, .slabs = slabs};
    auto result = std::make_unique<model::Mmdit>(
        config_from(mmdit_tiny.json().at("config")), settings, policy,
        model::Execution{.path = std::getenv("FLUX_TEST_TWINS") == nullptr ? kernels::Path::kFused
                                                                           : kernels::Path::kTwin});
    for (const std::string& name : mmdit_tiny.names_after("param.")) {
        result->parameters()
            .parameter(published_name(mmdit_tiny, name))
            .copy_(mmdit_tiny.tensor("param." + name));
    }
    result->parameters().parameters_changed();
    return result;
}

model::MmditInput tiny_input(const Fixture& mmdit_tiny) {
    return {.img = mmdit_tiny.tensor("input.img"),
            .img_ids = mmdit_tiny.tensor("input.img_ids"),
            .txt = mmdit_tiny.tensor("input.txt"),
            .txt_ids = mmdit_tiny.tensor("input.txt_ids"),
            .pooled = mmdit_tiny.tensor("input.y"),
            .timesteps = mmdit_tiny.tensor("input.timesteps"),
            .guidance = {}};
}

model::FluxConfig small_dimensions(int64_t depth, int64_t depth_single_blocks) {
    model::FluxConfig config = model::flavor("flux-tiny");
    config.hidden_size = 64;
    config.num_heads = 2;
    config.depth = depth;
    config.depth_single_blocks = depth_single_blocks;
    return config;
}

void initialize_off_zero(units::ParameterStore& parameters, uint64_t seed) {
    parameters.initialize(seed);
    for (units::FlatShard& shard : parameters.shards()) {
        shard.param.add_(0.02);
    }
    parameters.parameters_changed();
}

model::MmditInput random_input(const model::FluxConfig& config, const InputShape& shape) {
    const auto options = at::TensorOptions().dtype(shape.dtype);
    const int64_t side = shape.latent_side, image_tokens = side / 2 * side / 2;
    return {.img = at::randn({shape.batch, image_tokens, config.in_channels}, options),
            .img_ids = model::image_ids(side, side, at::kCPU),
            .txt = at::randn({shape.batch, shape.text_tokens, config.context_in_dim}, options),
            .txt_ids = model::text_ids(shape.text_tokens, at::kCPU),
            .pooled = at::randn({shape.batch, config.vec_in_dim}, options),
            .timesteps = at::zeros({shape.batch}),
            .guidance = {}};
}

}  // namespace flux::test
