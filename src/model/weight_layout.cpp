#include "flux/model/weight_layout.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>
#include <optional>
#include <span>

#include "flux/base/error.h"

namespace flux::model {
namespace {

/// A layer's published name and the diffusers names of its parts. All parts but the last have
/// hidden_size rows.
struct Row {
    std::string_view published;
    std::array<std::string_view, 4> parts;
    bool swaps_halves = false;
};

constexpr std::array kWhole{
    Row{"img_in", {"x_embedder"}},
    Row{"txt_in", {"context_embedder"}},
    Row{"time_in.in_layer", {"time_text_embed.timestep_embedder.linear_1"}},
    Row{"time_in.out_layer", {"time_text_embed.timestep_embedder.linear_2"}},
    Row{"vector_in.in_layer", {"time_text_embed.text_embedder.linear_1"}},
    Row{"vector_in.out_layer", {"time_text_embed.text_embedder.linear_2"}},
    Row{"guidance_in.in_layer", {"time_text_embed.guidance_embedder.linear_1"}},
    Row{"guidance_in.out_layer", {"time_text_embed.guidance_embedder.linear_2"}},
    Row{"final_layer.linear", {"proj_out"}},
    Row{"final_layer.adaLN_modulation.1", {"norm_out.linear"}, true},
};

constexpr std::array kDoubleBlock{
    Row{"img_mod.lin", {"norm1.linear"}},
    Row{"txt_mod.lin", {"norm1_context.linear"}},
    Row{"img_attn.qkv", {"attn.to_q", "attn.to_k", "attn.to_v"}},
    Row{"txt_attn.qkv", {"attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"}},
    Row{"img_attn.norm.query_norm", {"attn.norm_q"}},
    Row{"img_attn.norm.key_norm", {"attn.norm_k"}},
    Row{"txt_attn.norm.query_norm", {"attn.norm_added_q"}},
    Row{"txt_attn.norm.key_norm", {"attn.norm_added_k"}},
    Row{"img_attn.proj", {"attn.to_out.0"}},
    Row{"txt_attn.proj", {"attn.to_add_out"}},
    Row{"img_mlp.0", {"ff.net.0.proj"}},
    Row{"img_mlp.2", {"ff.net.2"}},
    Row{"txt_mlp.0", {"ff_context.net.0.proj"}},
    Row{"txt_mlp.2", {"ff_context.net.2"}},
};

constexpr std::array kSingleBlock{
    Row{"modulation.lin", {"norm.linear"}},
    Row{"linear1", {"attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"}},
    Row{"linear2", {"proj_out"}},
    Row{"norm.query_norm", {"attn.norm_q"}},
    Row{"norm.key_norm", {"attn.norm_k"}},
};

struct Group {
    std::string_view published;  // before the block's number; empty: no blocks
    std::string_view diffusers;
    std::span<const Row> rows;
};

constexpr std::array kGroups{
    Group{"double_blocks.", "transformer_blocks.", kDoubleBlock},
    Group{"single_blocks.", "single_transformer_blocks.", kSingleBlock},
    Group{"", "", kWhole},
};

int64_t product(std::span<const int64_t> sizes) {
    return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

/// What stands for a layer, and the diffusers prefix of its names.
struct Place {
    const Row& row;
    std::string prefix;
};

/// `layer`: a published name without its last word.
std::optional<Place> find_place(std::string_view layer) {
    for (const Group& group : kGroups) {
        if (!layer.starts_with(group.published)) {
            continue;
        }
        std::string_view rest = layer.substr(group.published.size());
        std::string prefix(group.diffusers);
        if (!group.published.empty()) {
            const size_t end = rest.find('.') + 1;  // 0 without one: no row is named ""
            prefix += rest.substr(0, end);
            rest = end == 0 ? std::string_view() : rest.substr(end);
        }
        const auto row = std::find_if(group.rows.begin(), group.rows.end(),
                                      [&](const Row& each) { return each.published == rest; });
        if (row != group.rows.end()) {
            return Place{*row, prefix};
        }
        return std::nullopt;
    }
    return std::nullopt;
}

}  // namespace

std::vector<StoredTensor> stored_tensors(WeightLayout layout, const std::string& name,
                                         const std::vector<int64_t>& shape, int64_t hidden_size) {
    const int64_t elements = product(shape);
    if (layout == WeightLayout::kPublished) {
        return {{name, shape, {{0, elements}}}};
    }
    const size_t dot = name.rfind('.');
    const auto place =
        dot == std::string::npos ? std::nullopt : find_place(std::string_view(name).substr(0, dot));
    if (!place || shape.empty()) {
        fail("tensor {}: has no place in the diffusers layout", name);
    }
    // What norms call scale is a weight there.
    const std::string leaf = name.ends_with(".scale") ? ".weight" : name.substr(dot);
    const int64_t rows = shape[0], columns = product(std::span(shape).subspan(1));
    const auto named = [&](std::string_view part) {
        return place->prefix + std::string(part) + leaf;
    };
    if (place->row.swaps_halves) {
        const int64_t half = rows / 2 * columns;
        return {{named(place->row.parts[0]), shape, {{half, elements}, {0, half}}}};
    }
    std::vector<StoredTensor> parts;
    int64_t row = 0;
    for (size_t i = 0; i < place->row.parts.size() && !place->row.parts[i].empty(); ++i) {
        const bool last = i + 1 == place->row.parts.size() || place->row.parts[i + 1].empty();
        const int64_t count = last ? rows - row : hidden_size;
        TORCH_CHECK(count > 0, name, ": ", rows, " rows for width ", hidden_size);
        std::vector<int64_t> part_shape = shape;
        part_shape[0] = count;
        parts.push_back(
            {named(place->row.parts[i]), part_shape, {{row * columns, (row + count) * columns}}});
        row += count;
    }
    return parts;
}

bool is_guidance_weight(std::string_view name) {
    return name.starts_with("guidance_in.") ||
           name.starts_with("time_text_embed.guidance_embedder.");
}

}  // namespace flux::model
