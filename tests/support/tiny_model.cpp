#include "support/tiny_model.h"

#include <cstdlib>
#include <nlohmann/json.hpp>

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

}  // namespace flux::test
