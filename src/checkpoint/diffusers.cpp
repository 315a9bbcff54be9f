#include "flux/checkpoint/diffusers.h"

#include <fmt/ranges.h>

#include <nlohmann/json.hpp>

#include "flux/base/error.h"
#include "flux/base/file.h"

namespace flux::checkpoint {
namespace {

using Json = nlohmann::ordered_json;

// What FluxTransformer2DModel leaves no choice in.
constexpr double kMlpRatio = 4;
constexpr int64_t kTheta = 10000;

template <class T>
void check_fixed(const char* option, const T& value, const T& fixed) {
    if (value != fixed) {
        fail(
            "{} = {}: the diffusers library has this model with {} only: export with --format "
            "single",
            option, value, fixed);
    }
}

}  // namespace

std::string diffusers_config(const model::FluxConfig& model) {
    check_fixed("model.mlp_ratio", model.mlp_ratio, kMlpRatio);
    check_fixed("model.theta", model.theta, kTheta);
    check_fixed("model.qkv_bias", model.qkv_bias, true);
    const Json config{{"_class_name", "FluxTransformer2DModel"},
                      {"attention_head_dim", model.head_dim()},
                      {"axes_dims_rope", model.axes_dim},
                      {"guidance_embeds", model.guidance_embed},
                      {"in_channels", model.in_channels},
                      {"joint_attention_dim", model.context_in_dim},
                      {"num_attention_heads", model.num_heads},
                      {"num_layers", model.depth},
                      {"num_single_layers", model.depth_single_blocks},
                      {"out_channels", model.out_channels},
                      {"patch_size", 1},
                      {"pooled_projection_dim", model.vec_in_dim}};
    return config.dump(2) + "\n";
}

std::optional<std::filesystem::path> find_diffusers_weights(const std::filesystem::path& folder) {
    for (const auto& place : {folder, folder / "transformer"}) {
        for (const char* name : {kDiffusersIndex, kDiffusersSingle}) {
            if (std::filesystem::exists(place / name)) {
                return place / name;
            }
        }
    }
    return std::nullopt;
}

void check_diffusers_config(const std::filesystem::path& folder, const model::FluxConfig& model) {
    const std::filesystem::path path = folder / kDiffusersConfig;
    if (!std::filesystem::exists(path)) {
        return;
    }
    Json config;
    try {
        config = Json::parse(read_text(path));
    } catch (const Json::exception& problem) {
        fail("{}: is not valid JSON: {}", path.string(), problem.what());
    }
    if (!config.is_object()) {
        fail("{}: is not a JSON object", path.string());
    }
    const auto compare = [&](const char* key, const Json& own, const char* option) {
        if (config.contains(key) && config[key] != own) {
            fail("{}: {} = {}: this model has {}: change {}, or take other weights", path.string(),
                 key, config[key].dump(), own.dump(), option);
        }
    };
    compare("_class_name", "FluxTransformer2DModel", "training.init_from");
    compare("axes_dims_rope", model.axes_dim, "model.axes_dim");
    compare("num_attention_heads", model.num_heads, "model.num_heads");
}

}  // namespace flux::checkpoint
