#include "encoders/autoencoder_names.h"

#include <fmt/core.h>

#include <array>
#include <utility>

namespace flux::encoders {
namespace {

constexpr int kScales = std::tuple_size_v<decltype(AutoencoderConfig::channels)>;

void replace(std::string& text, std::string_view from, std::string_view to) {
    const size_t at = text.find(from);
    if (at != std::string::npos) {
        text.replace(at, from.size(), to);
    }
}

// Parts of names: original, diffusers. Each occurs at most once in a name.
constexpr std::array<std::pair<std::string_view, std::string_view>, 13> kParts{{
    {".block.", ".resnets."},
    {".nin_shortcut.", ".conv_shortcut."},
    {".downsample.conv.", ".downsamplers.0.conv."},
    {".upsample.conv.", ".upsamplers.0.conv."},
    {".mid.block_1.", ".mid_block.resnets.0."},
    {".mid.block_2.", ".mid_block.resnets.1."},
    {".mid.attn_1.", ".mid_block.attentions.0."},
    {".attentions.0.norm.", ".attentions.0.group_norm."},
    {".attentions.0.q.", ".attentions.0.to_q."},
    {".attentions.0.k.", ".attentions.0.to_k."},
    {".attentions.0.v.", ".attentions.0.to_v."},
    {".attentions.0.proj_out.", ".attentions.0.to_out.0."},
    {".norm_out.", ".conv_norm_out."},
}};

std::string diffusers_name(std::string name) {
    for (const auto& [original, diffusers] : kParts) {
        replace(name, original, diffusers);
    }
    for (int i = 0; i < kScales; ++i) {
        replace(name, fmt::format("encoder.down.{}.", i),
                fmt::format("encoder.down_blocks.{}.", i));
        // The decoder's scales are counted in the order in which they run.
        replace(name, fmt::format("decoder.up.{}.", i),
                fmt::format("decoder.up_blocks.{}.", kScales - 1 - i));
    }
    return name;
}

}  // namespace

AutoencoderLayout layout_of(const SafetensorsSet& weights) {
    return weights.has("encoder.conv_norm_out.weight") ? AutoencoderLayout::kDiffusers
                                                       : AutoencoderLayout::kOriginal;
}

FileTensor file_tensor(const units::Parameter& parameter, AutoencoderLayout layout) {
    if (layout == AutoencoderLayout::kOriginal) {
        return {parameter.name, parameter.shape};
    }
    FileTensor tensor{diffusers_name(parameter.name), parameter.shape};
    if (tensor.name.find(".attentions.0.to_") != std::string::npos && tensor.shape.size() == 4) {
        tensor.shape.resize(2);  // a matrix in place of a 1 x 1 convolution
    }
    return tensor;
}

}  // namespace flux::encoders
