#include "flux/model/flux_config.h"

#include <fmt/ranges.h>

#include <utility>

#include "flux/base/error.h"
#include "flux/base/nearest.h"

namespace flux::model {
namespace {

using NamedFlavor = std::pair<std::string_view, FluxConfig>;

const std::array<NamedFlavor, 4>& flavors() {
    static const std::array<NamedFlavor, 4> table{{
        {"flux-schnell", {}},
        {"flux-dev", {.guidance_embed = true}},
        {"flux-debug",
         {.hidden_size = 1536, .num_heads = 12, .depth = 2, .depth_single_blocks = 2}},
        {"flux-tiny",
         {.vec_in_dim = 128,
          .context_in_dim = 128,
          .hidden_size = 128,
          .num_heads = 4,
          .depth = 2,
          .depth_single_blocks = 4,
          .axes_dim = {8, 12, 12}}},
    }};
    return table;
}

void check_positive(std::string_view key, int64_t value) {
    if (value < 1) {
        fail_config("model.{} = {}: must be >= 1", key, value);
    }
}

}  // namespace

FluxConfig flavor(std::string_view name) {
    for (const auto& [known, config] : flavors()) {
        if (known == name) {
            return config;
        }
    }
    fail_config("model.flavor = \"{}\": unknown{}; the flavors are {}", name,
                did_you_mean(name, flavor_names()), fmt::join(flavor_names(), ", "));
}

std::vector<std::string> flavor_names() {
    std::vector<std::string> names;
    for (const auto& [name, config] : flavors()) {
        names.emplace_back(name);
    }
    return names;
}

void check(const FluxConfig& config) {
    check_positive("hidden_size", config.hidden_size);
    check_positive("num_heads", config.num_heads);
    check_positive("vec_in_dim", config.vec_in_dim);
    check_positive("depth", config.depth);
    check_positive("depth_single_blocks", config.depth_single_blocks);
    check_positive("theta", config.theta);
    if (config.context_in_dim < 1) {
        fail_config("encoder.context_in_dim = {}: must be >= 1", config.context_in_dim);
    }
    if (config.mlp_hidden() < 1) {
        fail_config("model.mlp_ratio = {}: gives an empty MLP for model.hidden_size = {}",
                    config.mlp_ratio, config.hidden_size);
    }
    if (config.hidden_size % config.num_heads != 0) {
        fail_config("model.hidden_size = {}: must be a multiple of model.num_heads = {}",
                    config.hidden_size, config.num_heads);
    }
    int64_t sum = 0;
    for (const int64_t axis : config.axes_dim) {
        if (axis < 2 || axis % 2 != 0) {
            fail_config("model.axes_dim = {}: each entry must be even and >= 2",
                        fmt::join(config.axes_dim, ","));
        }
        sum += axis;
    }
    if (sum != config.head_dim()) {
        fail_config(
            "model.axes_dim = {}: sums to {}, but the head size is model.hidden_size / "
            "model.num_heads = {} / {} = "
            "{}; choose axes that sum to it",
            fmt::join(config.axes_dim, ","), sum, config.hidden_size, config.num_heads,
            config.head_dim());
    }
}

}  // namespace flux::model
